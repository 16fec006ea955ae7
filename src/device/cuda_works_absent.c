/* Without CUDA, or without CUPTI's header: no records of a GPU's work. */
#include "device/cuda_works.h"

#include <stdlib.h>

sy_status sy_cuda_works_begin(void) {
    SY_FAIL(SY_ERR_RUNTIME,
            "a GPU's trace: this build has none: `make configure CUDA=1` where CUDA 13 is with its "
            "CUPTI (cupti.h)");
}

int64_t sy_cuda_works_now(void) { return 0; }

sy_status sy_cuda_works_end(struct sy_cuda_works *out) {
    *out = (struct sy_cuda_works){0};
    return SY_OK;
}

void sy_cuda_works_free(struct sy_cuda_works *works) {
    free(works->work);
    *works = (struct sy_cuda_works){0};
}
