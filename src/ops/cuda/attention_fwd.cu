// attention_fwd (ops/op_layer.h): heads of 64, 128 and 192/128 by wgmma and TMA, others and what is not
// aligned to 16 bytes by mma.sync.
#include "ops/cuda/attention_any_fwd.cuh"
#include "ops/cuda/attention_fwd_sm90.cuh"
#include "ops/cuda/attention_launch.cuh"

static void attention_fwd_any(const struct sy_exec *x, const struct sy_attention &op) {
    using namespace attention_any;
    /* the last rows come first */
    int64_t tiles = op.heads * op.sequences * ((op.seq_len + SIDE - 1) / SIDE - op.first / SIDE);
    dim3 grid((unsigned)tiles, sy_cuda_blocks(op.dv, VALUES));
    SY_LAUNCH(x, forward, grid, THREADS, 0, op);
}

template <int DK, int DV>
static void attention_fwd_fast(const struct sy_exec *x, const struct sy_attention &op) {
    using namespace attention_fwd;
    const int bytes = place<DK, DV>::BYTES, sms = sy_cuda_multiprocessors(x);
    int64_t tiles = op.heads * op.sequences * ((op.seq_len + ROWS - 1) / ROWS - op.first / ROWS);
    maps m;
    for (int p = 0; p < 2; p++) {
        const struct sy_head_slice &s = op.slice[p < op.n_slices ? p : 0];
        m.q[p] = attention_map(x, op, s.q, s.d, op.heads, ROWS);
        m.k[p] = attention_map(x, op, s.k, s.d, op.kv_heads, KEYS);
    }
    m.v = attention_map(x, op, op.v, DV, op.kv_heads, KEYS);
    auto *attend = kernel<DK, DV>;
    SY_LAUNCH(x, attend, (unsigned)(tiles < sms ? tiles : sms), THREADS, bytes, m, op);
}

extern "C" void sy_cuda_attention_fwd(const struct sy_exec *x, const struct sy_attention *op) {
    for (int i = 0; i < op->n_texts; i++)
        sy_cuda_attention_fwd(x, &op->texts[i]);
    if (op->n_texts > 0 || op->sequences * op->seq_len == 0)
        return;
    switch (attention_fast(*op, 0)) {
    case 64:
        attention_fwd_fast<64, 64>(x, *op);
        break;
    case 128:
        attention_fwd_fast<128, 128>(x, *op);
        break;
    case 192:
        attention_fwd_fast<192, 128>(x, *op);
        break;
    default:
        attention_fwd_any(x, *op);
    }
}
