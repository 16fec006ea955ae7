// The products' kernel, TN LEAF and FOLD from an accumulator (gemm.cuh).
#include "ops/cuda/gemm_launch.cuh"

void gemm::tn_leaf_on(const struct sy_exec *x, const maps &m, const args &p, int64_t tiles) {
    launch<TN, LEAF_ON, 256>(x, "linear_dw", m, p, tiles, 256);
}

void gemm::tn_fold_on(const struct sy_exec *x, const maps &m, const args &p, int64_t tiles) {
    launch<TN, FOLD_ON, 256>(x, "linear_dw", m, p, tiles, 256);
}
