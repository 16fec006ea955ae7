/* Attention backward of class x86 by VDPBF16PS: ops/ref/attention_bwd.c has the equations, this the same
 * order of sums. A thread has whole key-value heads of a sequence: it packs their keys and values once, and
 * dK and dV stay in its scratch while tiles of 64 queries go by. Classes fp32 and sm90 are the tier
 * avx512's. */
#include "ops/ref/protos.h"
#include "ops/simd/attention_avx512_bf16.h"

void sy_attention_bwd_avx512(const struct sy_exec *x, const struct sy_attention *op);

struct buffers {
    struct widths w;
    /* of a tile of queries: q and do by rows and as right-hand sides of chains over queries, D */
    struct stored q, g;
    uint32_t *q_down, *g_down;
    float *d, *dq;
    int q_finite, g_finite;
    /* of a tile and a block of keys: s, dp [QUERIES, KEYS]; words of pairs of queries [QUERY_PAIRS, KEYS];
     * ds by rows */
    float *s, *dp;
    uint32_t *p_words, *ds_words;
    struct stored ds;
    /* of the sequence, a block after another: k for scores and for dQ, v for dp; sums */
    struct stored rows;
    uint32_t *keys, *keys_down, *values;
    int32_t *finite; /* whether a block's keys are */
    float *dk, *dv;
};

static struct buffers carve(const struct sy_exec *x, const struct sy_attention *op, uint32_t *scratch) {
    const char *end = (const char *)scratch + x->scratch_bytes;
    int64_t keys = up_to(op->seq_len, KEYS);
    struct buffers u = {.w = widths_of(op)};
    u.q = take_stored(&scratch, QUERIES, u.w.row);
    u.g = take_stored(&scratch, QUERIES, u.w.value_row);
    u.q_down = take_words(&scratch, QUERY_PAIRS * u.w.row);
    u.g_down = take_words(&scratch, QUERY_PAIRS * u.w.value_row);
    u.d = take_floats(&scratch, QUERIES);
    u.dq = take_floats(&scratch, QUERIES * u.w.row);
    u.s = take_floats(&scratch, QUERIES * KEYS);
    u.dp = take_floats(&scratch, QUERIES * KEYS);
    u.p_words = take_words(&scratch, QUERY_PAIRS * KEYS);
    u.ds_words = take_words(&scratch, QUERY_PAIRS * KEYS);
    u.ds = take_stored(&scratch, QUERIES, KEYS);
    u.rows = take_stored(&scratch, KEYS, max64(u.w.row, u.w.value_row));
    u.keys = take_words(&scratch, keys * u.w.pairs);
    u.keys_down = take_words(&scratch, keys / 2 * u.w.row);
    u.values = take_words(&scratch, keys * u.w.value_pairs);
    u.finite = (int32_t *)take_words(&scratch, keys / KEYS);
    u.dk = take_floats(&scratch, keys * u.w.row);
    u.dv = take_floats(&scratch, keys * u.w.value_row);
    assert((const char *)scratch <= end);
    (void)end;
    return u;
}

/* --- what is packed once -------------------------------------------------------------------------------- */

static void pack_block(const struct sy_attention *op, struct tokens sequence, int64_t block,
                       const struct buffers *u) {
    int64_t j0 = block * KEYS;
    struct tokens at = {sequence.first + j0, min64(KEYS, sequence.n - j0), sequence.head};
    struct stored keys = {u->rows.at, u->w.row}, values = {u->rows.at, u->w.value_row};
    gather_parts(op, 1, at, KEYS, keys);
    pack_along_rows(keys, KEYS, u->w.pairs, u->keys + j0 * u->w.pairs);
    pack_down_rows(keys, KEY_PAIRS, u->w.row, u->keys_down + j0 / 2 * u->w.row);
    u->finite[block] = all_stored_finite(keys, KEYS);
    gather_values(op->v, at, op->dv, KEYS, values);
    pack_along_rows(values, KEYS, u->w.value_pairs, u->values + j0 * u->w.value_pairs);
}

/* V64 of a b, stored values. */
static float v64_of_stored(int64_t n, const uint16_t *a, const uint16_t *b) {
    __m512 lane[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
    for (int64_t i = 0; i < n; i += 4 * VECTOR)
        for (int j = 0; j < 4; j++) {
            int64_t left = n - i - j * VECTOR;
            __mmask16 there = (__mmask16)((1u << (left > 0 ? min64(left, VECTOR) : 0)) - 1);
            __m512i x = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(there, a + i + j * VECTOR)),
                    y = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(there, b + i + j * VECTOR));
            lane[j] = _mm512_mask3_fmadd_ps((__m512)_mm512_slli_epi32(x, 16),
                                            (__m512)_mm512_slli_epi32(y, 16), lane[j], there);
        }
    return halved(lane[0], lane[1], lane[2], lane[3]);
}

static void load_queries(const struct sy_attention *op, struct tokens at, struct buffers *u) {
    gather_parts(op, 0, at, QUERIES, u->q);
    gather_values(op->d_o, at, op->dv, QUERIES, u->g);
    pack_down_rows(u->q, QUERY_PAIRS, u->w.row, u->q_down);
    pack_down_rows(u->g, QUERY_PAIRS, u->w.value_row, u->g_down);
    u->q_finite = all_stored_finite(u->q, QUERIES);
    u->g_finite = all_stored_finite(u->g, QUERIES);
    for (int64_t r = 0; r < at.n; r++)
        u->d[r] = v64_of_stored(op->dv, token_row(op->d_o, at, r), token_row(op->o, at, r));
    memset(u->dq, 0, (size_t)(QUERIES * u->w.row) * sizeof(float));
}

/* --- a tile of queries and a block of keys -------------------------------------------------------------- */

struct row { /* of a query */
    float lse, d;
    struct keys may;
};

/* p and ds of a query and 16 keys from 16 j on, +0 where it may not see. */
static inline __m512 probability(float c, const struct row *row, const float *s, int j) {
    __m512 x = _mm512_fmadd_ps(_mm512_loadu_ps(s + 16 * j), _mm512_set1_ps(c), _mm512_set1_ps(-row->lse));
    return _mm512_maskz_mov_ps(lanes_in(row->may, j), exp2_of(x));
}
static inline __m512 score_gradient(const struct row *row, const float *dp, int j, __m512 p) {
    __m512 x = _mm512_add_ps(_mm512_loadu_ps(dp + 16 * j), _mm512_setzero_ps());
    return _mm512_maskz_mul_ps(lanes_in(row->may, j), p, _mm512_sub_ps(x, _mm512_set1_ps(row->d)));
}

/* Words of an even and an odd query, a key each, from what `stored_of` made of both. */
static inline __m512i words_down(__m512 even, __m512 odd) {
    const __m512i by_key = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23,
                                            7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(by_key, stored_of(even, odd));
}

/* Queries 2 pair and 2 pair + 1: BF(p) and ds by words of both, ds by rows too; +0 beyond the vectors. */
static inline __attribute__((always_inline)) void
pair_gradient(float c, const struct row row[2], int64_t pair, const struct buffers *u, const int vectors) {
    const float *s = u->s + 2 * pair * KEYS, *dp = u->dp + 2 * pair * KEYS;
    uint32_t *p_words = u->p_words + pair * KEYS, *ds_words = u->ds_words + pair * KEYS;
    uint16_t *ds = u->ds.at + 2 * pair * KEYS;
    const __m512 zero = _mm512_setzero_ps();
    for (int j = 0; j < ALL; j += 2) {
        __m512 of[2][2];
        for (int k = 0; k < 2; k++) {
            __m512 even = j < vectors ? probability(c, &row[0], s, j + k) : zero;
            __m512 odd = j < vectors ? probability(c, &row[1], s + KEYS, j + k) : zero;
            _mm512_storeu_si512(p_words + VECTOR * (j + k), words_down(even, odd));
            of[0][k] = even = j < vectors ? score_gradient(&row[0], dp, j + k, even) : zero;
            of[1][k] = odd = j < vectors ? score_gradient(&row[1], dp + KEYS, j + k, odd) : zero;
            _mm512_storeu_si512(ds_words + VECTOR * (j + k), words_down(even, odd));
        }
        _mm512_storeu_si512(ds + VECTOR * j, stored_of(of[0][0], of[0][1]));
        _mm512_storeu_si512(ds + KEYS + VECTOR * j, stored_of(of[1][0], of[1][1]));
    }
}

static void gradients(const struct sy_attention *op, const struct queries *q, const struct sight *sight,
                      const struct buffers *u) {
    const float *lse = op->lse + (q->b * op->seq_len + q->i0) * op->heads + q->head;
    int half = vectors_seen(sight) == HALF;
    for (int64_t pair = 0; pair < QUERY_PAIRS; pair++) {
        struct row row[2] = {{0}};
        for (int64_t r = 2 * pair; r < 2 * pair + 2 && r < q->n; r++)
            row[r % 2] = (struct row){lse[r * op->heads], u->d[r], sight->row[r]};
        if (half)
            pair_gradient(op->c, row, pair, u, HALF);
        else
            pair_gradient(op->c, row, pair, u, ALL);
    }
}

static void key_block(const struct sy_attention *op, const struct queries *q, int64_t block,
                      const struct buffers *u) {
    const struct widths *w = &u->w;
    int64_t j0 = block * KEYS;
    struct sight sight;
    see(op, q, j0, &sight);
    scores(w->pairs, u->q, u->keys + j0 * w->pairs, &sight, u->s);
    scores(w->value_pairs, u->g, u->values + j0 * w->value_pairs, &sight, u->dp);
    gradients(op, q, &sight, u);
    struct chains values = {sight.of, KEY_GROUPS, QUERY_PAIRS, op->dv, !u->g_finite};
    struct chains keys = {sight.of, KEY_GROUPS, QUERY_PAIRS, 2 * w->pairs, !u->q_finite};
    struct chains queries = {sight.group, GROUPS, KEY_PAIRS, 2 * w->pairs, !u->finite[block]};
    add_products(&values, (struct left){u->p_words, 1, KEYS}, u->g_down,
                 (struct sums){u->dv + j0 * w->value_row, w->value_row, 0});
    add_products(&keys, (struct left){u->ds_words, 1, KEYS}, u->q_down,
                 (struct sums){u->dk + j0 * w->row, w->row, 0});
    add_products(&queries, as_left(u->ds, 0), u->keys_down + j0 / 2 * w->row,
                 (struct sums){u->dq, w->row, 0});
}

/* --- results -------------------------------------------------------------------------------------------- */

/* Rows of sums times scale, rounded, to the parts' heads. */
static void store_parts(const struct sy_attention *op, int key, struct tokens at, const float *sums,
                        int64_t row) {
    for (int p = 0; p < op->n_slices; p++) {
        struct sy_heads to = key ? op->slice[p].dk : op->slice[p].dq;
        for (int64_t r = 0; r < at.n; r++)
            finish_row(op->slice[p].d, sums + r * row, op->scale, token_row(to, at, r));
        sums += up_to(op->slice[p].d, 2);
    }
}

/* The queries of the tile after this one, and what is read with them, while this one is computed. */
static void fetch_next(const struct sy_attention *op, const struct queries *q) {
    int64_t next = q->i0 + q->n;
    struct tokens at = {q->b * op->seq_len + next, min64(QUERIES, op->seq_len - next), q->head};
    for (int p = 0; p < op->n_slices; p++)
        fetch(op->slice[p].q, at, op->slice[p].d);
    fetch(op->d_o, at, op->dv);
    fetch(op->o, at, op->dv);
}

static void kv_head(const struct sy_attention *op, int64_t b, int64_t kv, struct buffers *u) {
    int64_t t0 = b * op->seq_len, group = op->heads / op->kv_heads, keys = up_to(op->seq_len, KEYS);
    struct tokens all = {t0, op->seq_len, kv};
    memset(u->dk, 0, (size_t)(keys * u->w.row) * sizeof(float));
    memset(u->dv, 0, (size_t)(keys * u->w.value_row) * sizeof(float));
    for (int64_t block = 0; block * KEYS < op->seq_len; block++)
        pack_block(op, all, block, u);
    for (int64_t head = kv * group; head < (kv + 1) * group; head++)
        for (int64_t i0 = 0; i0 < op->seq_len; i0 += QUERIES) {
            struct queries q = {b, i0, min64(QUERIES, op->seq_len - i0), head, kv};
            struct tokens at = {t0 + i0, q.n, head};
            load_queries(op, at, u);
            fetch_next(op, &q);
            for (int64_t block = first_block(op, b, i0, q.n); block * KEYS <= i0 + q.n - 1; block++)
                key_block(op, &q, block, u);
            store_parts(op, 0, at, u->dq, u->w.row);
        }
    store_parts(op, 1, all, u->dk, u->w.row);
    for (int64_t j = 0; j < all.n; j++)
        finish_row(op->dv, u->dv + j * u->w.value_row, 1.0f, token_row(op->d_v, all, j));
}

struct work {
    const struct sy_exec *x;
    const struct sy_attention *op;
};

static void run(void *arg, int thread, int n_threads) {
    struct work *w = arg;
    struct buffers u = carve(w->x, w->op, sy_exec_scratch(w->x, thread));
    int64_t lo, hi, heads = w->op->kv_heads;
    sy_range(w->op->sequences * heads, 1, thread, n_threads, &lo, &hi);
    for (int64_t i = lo; i < hi; i++)
        kv_head(w->op, i / heads, i % heads, &u);
}

void SY_FN(attention_bwd)(const struct sy_exec *x, const struct sy_attention *op) {
    struct work w = {x, op};
    if (x->cls != SY_NUMERIC_X86)
        sy_attention_bwd_avx512(x, op);
    else
        sy_pool_run(x->pool, run, &w);
}
