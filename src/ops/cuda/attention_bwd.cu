// attention_bwd (ops/op_layer.h).
#include "ops/cuda/attention_any_bwd.cuh"
#include "ops/cuda/cuda.cuh"

static void any_shape(const struct sy_exec *x, const struct sy_attention *op) {
    using namespace attention_any;
    int64_t tiles = op->sequences * ((op->seq_len + SIDE - 1) / SIDE);
    dim3 keys((unsigned)(tiles * op->kv_heads), sy_cuda_blocks(n_columns(*op, 1), CHUNKS));
    dim3 queries((unsigned)(tiles * op->heads), sy_cuda_blocks(n_columns(*op, 0), CHUNKS));
    backward_keys<<<keys, THREADS, 0, sy_cuda_stream(x)>>>(*op);
    backward_queries<<<queries, THREADS, 0, sy_cuda_stream(x)>>>(*op);
    sy_cuda_check_launch(x);
}

extern "C" void sy_cuda_attention_bwd(const struct sy_exec *x, const struct sy_attention *op) {
    if (op->sequences * op->seq_len > 0)
        any_shape(x, op);
}
