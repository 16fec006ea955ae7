// The products' kernel, NT STORE_F32 (gemm.cuh).
#include "ops/cuda/gemm_launch.cuh"

void gemm::nt_store_f32(const struct sy_exec *x, const char *op, const maps &m, const args &p, int columns) {
    launch<NT, STORE_F32, SY_LEAST_nt_f32>(x, op, m, p, tiles_of(p), columns);
}
