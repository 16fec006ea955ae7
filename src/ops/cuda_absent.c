/* The ops of CUDA devices in a build without: none, as it makes no such device (device/cuda_absent.c);
 * plans need the size of packed operands, 0. */
#include "ops/ops.h"

static size_t no_bytes(const struct sy_exec *x, struct sy_mat m, int64_t k, int64_t n) {
    (void)x;
    (void)m;
    (void)k;
    (void)n;
    return 0;
}

static const struct sy_ops table = {.tier = "cuda", .gathers = 1, .pack_bytes = no_bytes};

const struct sy_ops *sy_ops_cuda(void) { return &table; }
