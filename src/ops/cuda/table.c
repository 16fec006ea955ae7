/* The ops of a CUDA device. */
#include "ops/cuda/protos.h"

/* Products read their right-hand sides as they are. */
static size_t no_bytes(const struct sy_exec *x, struct sy_mat m, int64_t k, int64_t n) {
    (void)x;
    (void)m;
    (void)k;
    (void)n;
    return 0;
}

static struct sy_peak no_peak(enum sy_numeric_class cls, int64_t rounds) {
    (void)cls;
    (void)rounds;
    return (struct sy_peak){0};
}

static const struct sy_ops table = {.tier = "cuda",
                                    .gathers = 1,
                                    .pack_bytes = no_bytes,
                                    .peak = no_peak,
#define X(name, type) .name = sy_cuda_##name,
                                    SY_OPS_LIST(X)
#undef X
};

const struct sy_ops *sy_ops_cuda(void) { return &table; }
