// attention_bwd (ops/op_layer.h): heads of 64, 128 and 192/128 by wgmma and TMA; others, what is not aligned
// to 16 bytes, and what has no workspace, by mma.sync.
#include "ops/cuda/attention_any_bwd.cuh"
#include "ops/cuda/attention_dq_sm90.cuh"
#include "ops/cuda/attention_launch.cuh"

static void attention_bwd_any(const struct sy_exec *x, const struct sy_attention &op) {
    using namespace attention_any;
    int64_t tiles = op.sequences * ((op.seq_len + SIDE - 1) / SIDE);
    dim3 keys((unsigned)(tiles * op.kv_heads), sy_cuda_blocks(n_columns(op, 1), CHUNKS));
    dim3 queries((unsigned)(tiles * op.heads), sy_cuda_blocks(n_columns(op, 0), CHUNKS));
    SY_LAUNCH(x, backward_keys, keys, THREADS, 0, op);
    SY_LAUNCH(x, backward_queries, queries, THREADS, 0, op);
}

// Some (sequence, key-value head) units at a time: equal shares of at most what the workspace holds.
template <int DK, int DV, int QB>
static void attention_bwd_fast(const struct sy_exec *x, const struct sy_attention &op) {
    using namespace attention_bwd;
    int64_t group = op.heads / op.kv_heads, all = op.sequences * op.kv_heads, tiles = sy_ds_tiles(&op);
    int64_t ds_bytes = (int64_t)x->scratch_bytes - sy_ds_all_terms_bytes(&op);
    int64_t fit = ds_bytes / sy_ds_unit_bytes(&op), rounds = (all + fit - 1) / fit;
    int64_t most = (all + rounds - 1) / rounds;
    const int keys_bytes = place<DK, DV, QB>::BYTES, dq_bytes = attention_dq::place<DK>::BYTES;
    maps m;
    for (int p = 0; p < 2; p++) {
        const struct sy_head_slice &s = op.slice[p < op.n_slices ? p : 0];
        m.q[p] = attention_map(x, op, s.q, s.d, op.heads, QB);
        m.k[p] = attention_map(x, op, s.k, s.d, op.kv_heads, SIDE);
    }
    m.v = attention_map(x, op, op.v, DV, op.kv_heads, SIDE);
    m.d_o = attention_map(x, op, op.d_o, DV, op.heads, QB);
    auto *make_terms = terms<DV>;
    auto *make_keys = keys<DK, DV, QB>;
    auto *make_queries = attention_dq::queries<DK>;
    units u = {x->scratch, x->scratch + sy_ds_all_terms_bytes(&op), 0, 0};
    int64_t term_rows = op.sequences * op.heads * sy_ds_term_rows(&op);
    SY_LAUNCH(x, make_terms, sy_cuda_blocks(term_rows, TERM_QUERIES), TERM_THREADS, 0, op, u);
    for (int64_t first = 0; first < all; first += most) {
        int n = (int)(all - first < most ? all - first : most);
        int64_t dq_tiles = n * group * ((tiles + 1) / 2), sms = sy_cuda_multiprocessors(x);
        u.first = (int)first;
        u.n = n;
        SY_LAUNCH(x, make_keys, (unsigned)(n * tiles), THREADS, keys_bytes, m, op, u);
        SY_LAUNCH(x, make_queries, (unsigned)(dq_tiles < sms ? dq_tiles : sms), THREADS, dq_bytes, m, op, u);
    }
}

extern "C" void sy_cuda_attention_bwd(const struct sy_exec *x, const struct sy_attention *op) {
    if (op->sequences * op->seq_len == 0)
        return;
    int64_t least = sy_ds_all_terms_bytes(op) + sy_ds_unit_bytes(op);
    switch (least <= (int64_t)x->scratch_bytes ? attention_fast(*op, 1) : 0) {
    case 64:
        attention_bwd_fast<64, 64, 64>(x, *op);
        break;
    case 128:
        attention_bwd_fast<128, 128, 64>(x, *op);
        break;
    case 192:
        attention_bwd_fast<192, 128, 48>(x, *op);
        break;
    default:
        attention_bwd_any(x, *op);
    }
}
