// The products' kernel, NN STORE (gemm.cuh).
#include "ops/cuda/gemm_launch.cuh"

void gemm::nn_store(const struct sy_exec *x, const char *op, const maps &m, const args &p, int columns) {
    launch<NN, STORE, SY_LEAST_nn>(x, op, m, p, tiles_of(p), columns);
}
