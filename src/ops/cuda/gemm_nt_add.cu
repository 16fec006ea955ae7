// The products' kernel, NT ADD (gemm.cuh).
#include "ops/cuda/gemm_launch.cuh"

void gemm::nt_add(const struct sy_exec *x, const char *op, const maps &m, const args &p, int columns) {
    launch<NT, ADD, SY_LEAST_nt_add>(x, op, m, p, tiles_of(p), columns);
}
