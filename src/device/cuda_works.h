/* What a GPU did when, by its own clock: kernels, copies and fills, alone or in a graph. By CUPTI, which is
 * loaded when it is asked for; it slows a step by about 0.3 %.
 */
#ifndef SY_DEVICE_CUDA_WORKS_H
#define SY_DEVICE_CUDA_WORKS_H

#include "base/status.h"

#include <stdint.h>

struct sy_cuda_work {
    char *name;         /* a kernel's with its template's arguments, "copy" or "fill" */
    int64_t begin, end; /* ns */
};
struct sy_cuda_works { /* ascending in `begin` */
    struct sy_cuda_work *work;
    int64_t n, capacity;
};

/* Local. From now on, until _end, work of all GPUs is noted: once at a time, before a device is opened. Errors:
 * ERR_RUNTIME where there is no CUPTI, or another tool has it. */
sy_status sy_cuda_works_begin(void);
/* Local. ns of that clock; 0 before _begin. */
int64_t sy_cuda_works_now(void);
/* Local. Errors: ERR_MEMORY. Owned by the caller: sy_cuda_works_free ({0} is fine). */
sy_status sy_cuda_works_end(struct sy_cuda_works *out);
void sy_cuda_works_free(struct sy_cuda_works *works);

#endif
