// The products' kernel, NN STORE (gemm.cuh).
#include "ops/cuda/gemm_launch.cuh"

void gemm::nn_store(const struct sy_exec *x, const char *op, const maps &m, const args &p) {
    launch<NN, STORE>(x, op, m, p, tiles_of(p));
}
