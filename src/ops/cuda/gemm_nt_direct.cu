// The products' kernel, NT DIRECT (gemm.cuh).
#include "ops/cuda/gemm_launch.cuh"

void gemm::nt_direct(const struct sy_exec *x, const char *op, const maps &m, const args &p) {
    launch<NT, DIRECT, 256>(x, op, m, p, tiles_of(p), 256);
}
