/* bench model --trace: what the GPU did in one step, as a file that Perfetto and chrome://tracing open, and
 * how long it did nothing.
 */
#ifndef SY_COMMANDS_BENCH_MODEL_TRACE_H
#define SY_COMMANDS_BENCH_MODEL_TRACE_H

#include "device/cuda_works.h"
#include "train/io.h"

struct sy_step_gaps { /* of the work that begins in from .. to */
    int64_t n;        /* kernels, copies, fills */
    double step_us, idle_us, longest_us;
    int64_t above;              /* gaps longer than 5 us */
    char before[64], after[64]; /* the longest; "": there is none */
};
struct sy_step_gaps sy_step_gaps(const struct sy_cuda_works *works, int64_t from, int64_t to);

/* Local. Errors: ERR_IO with the path. */
sy_status sy_step_trace_write(const char *path, const struct sy_cuda_works *works, int64_t from, int64_t to);

void sy_step_gaps_print(const struct sy_step_gaps *g, int json, const struct sy_io *io);

#endif
