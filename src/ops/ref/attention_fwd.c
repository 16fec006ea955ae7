/* Attention forward (NUMERICS 3): an online softmax whose running maximum is an integer power of two, so that
 * rescaling is exact and may be skipped where it did not move. Per query row, from M = -Inf, Z = 0, O = 0:
 *
 *     for each block of 128 keys with an allowed one, from the start of the sequence:
 *         s  = CHAIN over the head dimension
 *         M' = max(M, rint(c max s))                       c = fp32(scale log2 e)
 *         O, Z *= EXP2(M - M') unless M is -Inf;  M = M'
 *         p  = EXP2(fma(s, c, -M)), +0 where masked;       Z += V64(p)
 *         O  = CHAIN over the block's keys of (BF(p), v), going on from O
 *     o = BF(O (1/Z)),  lse = M + LOG2(Z)
 *
 * An allowed score of -Inf has p = EXP2(-Inf) = +0. EXP2 would hide a NaN: it is looked for beside the
 * maximum. What else is wrong shows in Z = 0: +Inf, no finite score, scores so large that fp32 has no
 * fraction left. Both make o and lse of the row NaN.
 */
#include "ops/ref/attention.h"
#include "ops/ref/protos.h"
#include "ops/ref/rows.h"

struct work {
    const struct sy_exec *x;
    const struct sy_attention *op;
};

struct row_state {
    float m, z;
    int nan; /* an allowed score is */
    float *o;
};

/* One row's block: s becomes p, stored-rounded; state and the row of O are rescaled. Returns 0 if no key
 * is allowed. */
static int softmax_row(const struct sy_exec *x, const struct sy_attention *op, struct keys allowed, float *s,
                       struct row_state *state) {
    int64_t lo = allowed.lo, hi = allowed.hi, dv = op->dv;
    float c = op->c, *o = state->o;
    if (lo >= hi) {
        memset(s, 0, KEYS * 4);
        return 0;
    }
    int nan = 0;
    for (int64_t j = lo; j < hi; j++)
        nan |= s[j] != s[j];
    state->nan |= nan;
    float m = rintf(c * max_of(hi - lo, s + lo));
    m = m > state->m ? m : state->m;
    if (m != state->m && state->m != -INFINITY) {
        float alpha = sy_exp2_f32(state->m - m);
        state->z *= alpha;
        for (int64_t i = 0; i < dv; i++)
            o[i] *= alpha;
    }
    state->m = m;
    for (int64_t j = 0; j < KEYS; j++)
        s[j] = sy_exp2_f32(fmaf(s[j], c, -m));
    memset(s, 0, (size_t)lo * 4);
    memset(s + hi, 0, (size_t)(KEYS - hi) * 4);
    state->z += v64(KEYS, s);
    for (int64_t j = 0; j < KEYS; j++)
        s[j] = bf(x, s[j]);
    return 1;
}

static void finish(const struct sy_exec *x, const struct sy_attention *op, struct tokens at, int64_t r,
                   struct row_state *state) {
    float inverse = 1.0f / state->z, lse = state->m + sy_log2_f32(state->z), *o = state->o;
    for (int64_t i = 0; i < op->dv; i++)
        o[i] = (o[i] + 0.0f) * inverse;
    if (state->nan || !(state->z > 0.0f)) {
        lse = NAN;
        for (int64_t i = 0; i < op->dv; i++)
            o[i] = NAN;
    }
    narrow(x, op->o.dtype, op->dv, o, token_row(op->o, at, r));
    op->lse[(at.first + r) * op->heads + at.head] = lse;
}

/* O = CHAIN over the block's keys of (p, v), all n columns of each, or of the first `reached` of them:
 * behind those p = 0. Rows with no allowed key have it everywhere: nothing changes, unless v holds NaN or
 * Inf; then they are kept aside. */
static void add_values(const struct sy_exec *x, const struct chain_args *chain, int64_t reached,
                       const int *any, float *kept) {
    int64_t n = chain->n;
    float *o = chain->acc;
    if (all_finite(chain->b, chain->k * n)) {
        struct chain_args few = *chain;
        few.k = min64(reached, chain->k);
        chain_tile(x->cls, &few);
        return;
    }
    memcpy(kept, o, (size_t)(QUERIES * n) * 4);
    chain_tile(x->cls, chain);
    for (int64_t r = 0; r < QUERIES; r++)
        if (!any[r])
            memcpy(o + r * n, kept + r * n, (size_t)n * 4);
}

/* n queries from i0 on of one sequence and head. */
static void queries(const struct sy_exec *x, const struct sy_attention *op, int64_t b, int64_t head,
                    int64_t i0, float *scratch) {
    const char *end = (const char *)scratch + x->scratch_bytes;
    int64_t t0 = b * op->seq_len, n = min64(QUERIES, op->seq_len - i0), width = packed_width(x, op);
    int64_t dv_pad = round_up(op->dv, CHAIN_N_PAD), kv = head / (op->heads / op->kv_heads);
    struct tokens at = {t0 + i0, n, head};
    float *q = take(&scratch, QUERIES * width), *k = take(&scratch, KEYS * width),
          *k_t = take(&scratch, width * KEYS);
    float *v = take(&scratch, KEYS * dv_pad), *s = take(&scratch, QUERIES * KEYS),
          *o = take(&scratch, QUERIES * dv_pad);
    float *kept = take(&scratch, QUERIES * dv_pad);
    assert((const char *)scratch <= end);
    (void)end;
    int any[QUERIES];
    struct row_state state[QUERIES];
    for (int r = 0; r < QUERIES; r++)
        state[r] = (struct row_state){-INFINITY, 0.0f, 0, o + r * dv_pad};
    memset(o, 0, (size_t)(QUERIES * dv_pad) * 4);
    memset(q, 0, (size_t)(QUERIES * width) * 4);
    pack_parts(x, op, 0, at, q, width);
    for (int64_t block = first_block(op, b, i0, n); block * KEYS <= i0 + n - 1; block++) {
        int64_t j0 = block * KEYS, n_k = min64(KEYS, op->seq_len - j0),
                k_pad = min64(KEYS, round_up(n_k, x->kb));
        struct tokens keys = {t0 + j0, n_k, kv};
        pack_parts(x, op, 1, keys, k, width);
        transpose(k, width, n_k, width, k_t, KEYS);
        memset(v, 0, (size_t)(KEYS * dv_pad) * 4);
        pack_rows(op->v, keys, op->dv, dv_pad, v, dv_pad);
        int64_t reached = keys_reached(i0, n, j0);
        scores(x, QUERIES, reached, width, q, k_t, s);
        for (int64_t r = 0; r < QUERIES; r++) {
            struct keys may = {0, 0};
            if (r < n)
                may = allowed_keys(op, b, i0 + r);
            may = (struct keys){max64(may.lo - j0, 0), min64(may.hi - j0, n_k)};
            any[r] = softmax_row(x, op, may, s + r * KEYS, &state[r]);
        }
        add_values(x, &(struct chain_args){QUERIES, dv_pad, k_pad, s, KEYS, v, dv_pad, o, dv_pad}, reached,
                   any, kept);
    }
    for (int64_t r = 0; r < n; r++)
        finish(x, op, at, r, &state[r]);
}

static void run(void *arg, int thread, int n_threads) {
    struct work *w = arg;
    const struct sy_attention *op = w->op;
    int64_t turn = 0;
    for (int64_t b = 0; b < op->sequences; b++)
        for (int64_t h = 0; h < op->heads; h++)
            for (int64_t i = op->first; i < op->seq_len; i += QUERIES)
                if (turn++ % n_threads == thread)
                    queries(w->x, op, b, h, i, sy_exec_scratch(w->x, thread));
}

void SY_FN(attention_fwd)(const struct sy_exec *x, const struct sy_attention *op) {
    struct work w = {x, op};
#if defined(__AMX_BF16__)
    if (x->cls != SY_NUMERIC_AMX) {
        sy_attention_fwd_avx512_bf16(x, op);
        return;
    }
#endif
    for (int i = 0; i < op->n_texts; i++)
        SY_FN(attention_fwd)(x, &op->texts[i]);
    if (op->n_texts == 0)
        sy_pool_run(x->pool, run, &w);
}
