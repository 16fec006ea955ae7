/* Attention backward (NUMERICS 3), one pass per sequence and key-value head, queries outside, keys inside:
 *
 *     D = V64(do o);  p = EXP2(fma(s, c, -lse))
 *     dp = CHAIN over the value dimension of (do, v);  ds = BF(p (dp - D))
 *     dV = CHAIN over (query heads of the group ascending, queries ascending) of (BF(p), do)
 *     dK likewise of (ds, q)
 *     dQ = CHAIN over keys ascending of (ds, k);  dK and dQ times scale, one BF each
 *
 * A score of -Inf has p = EXP2(-Inf) = +0 here too. Each head's queries are a part of the chain, padded to KB
 * by itself. dV and dK of a whole sequence stay in scratch between blocks of queries; blocks with no allowed
 * pair are zero steps and skipped. A shared key (MLA's rope) gets one dk a head.
 */
#include "ops/ref/attention.h"
#include "ops/ref/protos.h"

struct work {
    const struct sy_exec *x;
    const struct sy_attention *op;
};

struct buffers {
    float *q, *k, *k_t, *v, *v_t, *g, *o, *s, *dp, *p_t, *ds_t, *dq, *d, *dk, *dv;
    int64_t width, width_pad, dv_width, dv_pad, dv_kb;
};

static struct buffers carve(const struct sy_exec *x, const struct sy_attention *op, float *scratch) {
    const char *end = (const char *)scratch + x->scratch_bytes;
    struct buffers u = {.width = packed_width(x, op)};
    u.width_pad = round_up(u.width, CHAIN_N_PAD);
    u.dv_kb = round_up(op->dv, x->kb);
    u.dv_pad = round_up(op->dv, CHAIN_N_PAD);
    u.dv_width = round_up(u.dv_pad, 16);
    int64_t keys = round_up(op->seq_len, KEYS);
    u.q = take(&scratch, QUERIES * u.width_pad);
    u.k = take(&scratch, KEYS * u.width_pad);
    u.k_t = take(&scratch, u.width * KEYS);
    u.v = take(&scratch, KEYS * u.dv_width);
    u.v_t = take(&scratch, u.dv_width * KEYS);
    u.g = take(&scratch, QUERIES * u.dv_width);
    u.o = take(&scratch, u.dv_width);
    u.s = take(&scratch, QUERIES * KEYS);
    u.dp = take(&scratch, QUERIES * KEYS);
    u.p_t = take(&scratch, KEYS * QUERIES);
    u.ds_t = take(&scratch, KEYS * QUERIES);
    u.dq = take(&scratch, QUERIES * u.width_pad);
    u.d = take(&scratch, QUERIES);
    u.dk = take(&scratch, keys * u.width_pad);
    u.dv = take(&scratch, keys * u.dv_pad);
    assert((const char *)scratch <= end);
    (void)end;
    return u;
}

/* rows of acc[.., row] times scale, rounded, to the parts' heads. */
static void store_parts(const struct sy_exec *x, const struct sy_attention *op, int key, struct tokens at,
                        float *acc, int64_t row) {
    float scale = op->scale;
    for (int p = 0; p < op->n_slices; p++) {
        struct sy_heads to = key ? op->slice[p].dk : op->slice[p].dq;
        int64_t d = op->slice[p].d;
        for (int64_t r = 0; r < at.n; r++) {
            float *a = acc + r * row;
            for (int64_t i = 0; i < d; i++)
                a[i] = (a[i] + 0.0f) * scale;
            narrow(x, to.dtype, d, a, token_row(to, at, r));
        }
        acc += round_up(d, x->kb);
    }
}

struct row { /* r of a block of queries */
    int64_t r;
    float lse, d;
    struct keys may;
};

/* s, dp of a row become BF(p) and ds, +0 where it may not see. */
static void row_gradient(const struct sy_exec *x, float c, const struct row *row, const struct buffers *u) {
    int64_t lo = row->may.lo, hi = row->may.hi;
    float *restrict s = u->s + row->r * KEYS, *restrict dp = u->dp + row->r * KEYS, lse = row->lse,
                    d = row->d;
    for (int64_t j = 0; j < KEYS; j++) {
        float p = sy_exp2_f32(fmaf(s[j], c, -lse));
        s[j] = p;
        dp[j] = p * ((dp[j] + 0.0f) - d);
    }
    round_all(x, KEYS, s);
    round_all(x, KEYS, dp);
    for (int64_t j = 0; j < KEYS; j++)
        if (j < lo || j >= hi)
            s[j] = dp[j] = 0.0f;
}

static void load_queries(const struct sy_exec *x, const struct sy_attention *op, struct tokens at,
                         struct buffers *u) {
    memset(u->q, 0, (size_t)(QUERIES * u->width_pad) * 4);
    memset(u->g, 0, (size_t)(QUERIES * u->dv_width) * 4);
    memset(u->dq, 0, (size_t)(QUERIES * u->width_pad) * 4);
    pack_parts(x, op, 0, at, u->q, u->width_pad);
    pack_rows(op->d_o, at, op->dv, op->dv, u->g, u->dv_width);
    for (int64_t r = 0; r < at.n; r++) {
        pack_rows(op->o, (struct tokens){at.first + r, 1, at.head}, op->dv, op->dv, u->o, u->dv_width);
        u->d[r] = v64_dot(op->dv, u->g + r * u->dv_width, u->o);
    }
}

struct queries { /* n from i0 on of sequence b, and their heads */
    int64_t b, i0, n, head, kv;
};

static void key_block(const struct sy_exec *x, const struct sy_attention *op, const struct queries *q,
                      int64_t j0, const struct buffers *u) {
    int64_t t0 = q->b * op->seq_len, w = u->width_pad, reached = keys_reached(q->i0, q->n, j0);
    struct tokens keys = {t0 + j0, min64(KEYS, op->seq_len - j0), q->kv};
    memset(u->k, 0, (size_t)(KEYS * w) * 4);
    pack_parts(x, op, 1, keys, u->k, w);
    transpose(u->k, w, keys.n, u->width, u->k_t, KEYS);
    memset(u->v, 0, (size_t)(KEYS * u->dv_width) * 4);
    pack_rows(op->v, keys, op->dv, op->dv, u->v, u->dv_width);
    transpose(u->v, u->dv_width, keys.n, u->dv_kb, u->v_t, KEYS);
    memset(u->s, 0, QUERIES * KEYS * 4);
    memset(u->dp, 0, QUERIES * KEYS * 4);
    chain_tile(x->cls, &(struct chain_args){QUERIES, reached, u->width, u->q, w, u->k_t, KEYS, u->s, KEYS});
    chain_tile(x->cls, &(struct chain_args){QUERIES, reached, u->dv_kb, u->g, u->dv_width, u->v_t, KEYS,
                                            u->dp, KEYS});
    for (int64_t r = 0; r < QUERIES; r++) {
        struct row row = {.r = r};
        if (r < q->n) {
            struct keys may = allowed_keys(op, q->b, q->i0 + r);
            row = (struct row){
                r, op->lse[(t0 + q->i0 + r) * op->heads + q->head], u->d[r], {may.lo - j0, may.hi - j0}};
        }
        row_gradient(x, op->c, &row, u);
    }
    transpose(u->s, KEYS, QUERIES, KEYS, u->p_t, QUERIES);
    transpose(u->dp, KEYS, QUERIES, KEYS, u->ds_t, QUERIES);
    if (reached < KEYS && !(all_finite(u->g, QUERIES * u->dv_width) && all_finite(u->q, QUERIES * w) &&
                            all_finite(u->k, KEYS * w)))
        reached = KEYS;
    chain_tile(x->cls, &(struct chain_args){reached, u->dv_pad, QUERIES, u->p_t, QUERIES, u->g, u->dv_width,
                                            u->dv + j0 * u->dv_pad, u->dv_pad});
    chain_tile(x->cls,
               &(struct chain_args){reached, w, QUERIES, u->ds_t, QUERIES, u->q, w, u->dk + j0 * w, w});
    chain_tile(x->cls, &(struct chain_args){QUERIES, w, reached, u->dp, KEYS, u->k, w, u->dq, w});
}

static void store_values(const struct sy_exec *x, const struct sy_attention *op, struct tokens at,
                         struct buffers *u) {
    for (int64_t j = 0; j < at.n; j++) {
        float *a = u->dv + j * u->dv_pad;
        for (int64_t i = 0; i < op->dv; i++)
            a[i] += 0.0f;
        narrow(x, op->d_v.dtype, op->dv, a, token_row(op->d_v, at, j));
    }
}

static void kv_head(const struct sy_exec *x, const struct sy_attention *op, int64_t b, int64_t kv,
                    float *scratch) {
    struct buffers u = carve(x, op, scratch);
    int64_t t0 = b * op->seq_len, group = op->heads / op->kv_heads, keys = round_up(op->seq_len, KEYS);
    memset(u.dk, 0, (size_t)(keys * u.width_pad) * 4);
    memset(u.dv, 0, (size_t)(keys * u.dv_pad) * 4);
    for (int64_t head = kv * group; head < (kv + 1) * group; head++)
        for (int64_t i0 = 0; i0 < op->seq_len; i0 += QUERIES) {
            int64_t n = min64(QUERIES, op->seq_len - i0);
            struct tokens at = {t0 + i0, n, head};
            load_queries(x, op, at, &u);
            for (int64_t block = first_block(op, b, i0, n); block * KEYS <= i0 + n - 1; block++)
                key_block(x, op, &(struct queries){b, i0, n, head, kv}, block * KEYS, &u);
            store_parts(x, op, 0, at, u.dq, u.width_pad);
        }
    struct tokens all = {t0, op->seq_len, kv};
    store_parts(x, op, 1, all, u.dk, u.width_pad);
    store_values(x, op, all, &u);
}

static void run(void *arg, int thread, int n_threads) {
    struct work *w = arg;
    int64_t turn = 0;
    for (int64_t b = 0; b < w->op->sequences; b++)
        for (int64_t kv = 0; kv < w->op->kv_heads; kv++)
            if (turn++ % n_threads == thread)
                kv_head(w->x, w->op, b, kv, sy_exec_scratch(w->x, thread));
}

void SY_FN(attention_bwd)(const struct sy_exec *x, const struct sy_attention *op) {
    struct work w = {x, op};
#if defined(__AMX_BF16__)
    if (x->cls != SY_NUMERIC_AMX) {
        sy_attention_bwd_avx512_bf16(x, op);
        return;
    }
#endif
    sy_pool_run(x->pool, run, &w);
}
