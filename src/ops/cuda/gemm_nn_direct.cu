// The products' kernel, NN DIRECT (gemm.cuh).
#include "ops/cuda/gemm_launch.cuh"

void gemm::nn_direct(const struct sy_exec *x, const char *op, const maps &m, const args &p) {
    launch<NN, DIRECT, 256>(x, op, m, p, tiles_of(p), 256);
}
