// The products' kernel, NT STORE (gemm.cuh).
#include "ops/cuda/gemm_launch.cuh"

void gemm::nt_store(const struct sy_exec *x, const char *op, const maps &m, const args &p, int columns) {
    launch<NT, STORE, SY_LEAST_nt>(x, op, m, p, tiles_of(p), columns);
}
