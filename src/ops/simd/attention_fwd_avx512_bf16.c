/* Attention forward of class x86 by VDPBF16PS: ops/ref/attention_fwd.c has the equations, this the same
 * order of sums. A thread has whole tiles of 64 queries, those of one key-value head after another, whose
 * keys and values it packs once; a query by itself reads them where they lie. Classes fp32 and sm90 are the
 * tier avx512's. */
#include "ops/ref/protos.h"
#include "ops/simd/attention_one_avx512_bf16.h"

void sy_attention_fwd_avx512(const struct sy_exec *x, const struct sy_attention *op);

struct buffers {
    struct widths w;
    struct stored q, rows, p; /* [QUERIES, row], [KEYS, a row of keys or values], [QUERIES, KEYS] */
    float *s, *o, *kept;      /* [QUERIES, KEYS], [QUERIES, value_row] twice */
    /* Of one sequence and key-value head, of blocks from .. to - 1: */
    uint32_t *keys, *values; /* a block is [KEYS/32][pairs][32], [value_row/32][KEY_PAIRS][32] */
    int32_t *finite;         /* whether a block's values are */
    int64_t b, kv, from, to;
};

static struct buffers carve(const struct sy_exec *x, const struct sy_attention *op, uint32_t *scratch) {
    const char *end = (const char *)scratch + x->scratch_bytes;
    int64_t blocks = (op->seq_len + KEYS - 1) / KEYS;
    struct buffers u = {.w = widths_of(op), .b = -1};
    u.q = take_stored(&scratch, QUERIES, u.w.row);
    u.rows = take_stored(&scratch, KEYS, max64(u.w.row, u.w.value_row));
    u.p = take_stored(&scratch, QUERIES, KEYS);
    u.s = take_floats(&scratch, QUERIES * KEYS);
    u.o = take_floats(&scratch, QUERIES * u.w.value_row);
    u.kept = take_floats(&scratch, QUERIES * u.w.value_row);
    u.keys = take_words(&scratch, blocks * KEYS * u.w.pairs);
    u.values = take_words(&scratch, blocks * KEY_PAIRS * u.w.value_row);
    u.finite = (int32_t *)take_words(&scratch, blocks);
    assert((const char *)scratch <= end);
    (void)end;
    return u;
}

/* --- keys and values, packed once ----------------------------------------------------------------------- */

/* Keys of a block, and their pairs: fewer in the last one. */
static int64_t keys_in(const struct sy_attention *op, int64_t block) {
    return min64(KEYS, op->seq_len - block * KEYS);
}
static int64_t pairs_in(const struct sy_attention *op, int64_t block) { return (keys_in(op, block) + 1) / 2; }

static void pack_block(const struct sy_attention *op, struct buffers *u, int64_t block) {
    int64_t j0 = block * KEYS;
    struct tokens at = {u->b * op->seq_len + j0, keys_in(op, block), u->kv};
    int64_t panels = up_to(at.n, PANEL), pairs = pairs_in(op, block);
    struct stored keys = {u->rows.at, u->w.row}, values = {u->rows.at, u->w.value_row};
    gather_parts(op, 1, at, panels, keys);
    pack_along_rows(keys, panels, u->w.pairs, u->keys + j0 * u->w.pairs);
    gather_values(op->v, at, op->dv, 2 * pairs, values);
    pack_down_rows(values, pairs, u->w.value_row, u->values + block * KEY_PAIRS * u->w.value_row);
    u->finite[block] = all_stored_finite(values, 2 * pairs);
}

/* Blocks first .. last are packed. */
static void need(const struct sy_attention *op, struct buffers *u, const struct queries *q, int64_t first,
                 int64_t last) {
    if (u->b != q->b || u->kv != q->kv) {
        u->b = q->b;
        u->kv = q->kv;
        u->from = u->to = first;
    }
    while (u->from > first)
        pack_block(op, u, --u->from);
    while (u->to <= last)
        pack_block(op, u, u->to++);
}

/* --- a tile of queries ---------------------------------------------------------------------------------- */

struct row_state {
    float m, z;
    int nan;  /* an allowed score is */
    float *o; /* the row of O */
};

/* One row's block: p from s, the state and the row of O rescaled. Scores beyond the vectors are masked. */
static inline __attribute__((always_inline)) void softmax_row(const struct sy_attention *op, struct keys may,
                                                              const float *s, struct row_state *state,
                                                              uint16_t *p, const int vectors) {
    const __m512 zero = _mm512_setzero_ps(), none = _mm512_set1_ps(-INFINITY);
    __m512 x[ALL], top = none;
    __mmask16 sees[ALL], nan = 0;
    for (int j = 0; j < vectors; j++) {
        sees[j] = lanes_in(may, j);
        x[j] = _mm512_add_ps(_mm512_loadu_ps(s + VECTOR * j), zero);
        nan |= _mm512_mask_cmp_ps_mask(sees[j], x[j], x[j], _CMP_UNORD_Q);
        top = _mm512_max_ps(_mm512_mask_mov_ps(none, sees[j], x[j]), top); /* NaN loses */
    }
    state->nan |= nan != 0;
    float m = rintf(op->c * _mm512_reduce_max_ps(top));
    m = m > state->m ? m : state->m;
    if (m != state->m && state->m != -INFINITY) {
        float alpha = sy_exp2_f32(state->m - m), *restrict o = state->o;
        state->z *= alpha;
        for (int64_t i = 0; i < op->dv; i++)
            o[i] *= alpha;
    }
    state->m = m;
    const __m512 c = _mm512_set1_ps(op->c), minus_m = _mm512_set1_ps(-m);
    for (int j = 0; j < ALL; j++)
        x[j] = j < vectors ? _mm512_maskz_mov_ps(sees[j], exp2_of(_mm512_fmadd_ps(x[j], c, minus_m))) : zero;
    state->z += halved(_mm512_add_ps(x[0], x[4]), _mm512_add_ps(x[1], x[5]), _mm512_add_ps(x[2], x[6]),
                       _mm512_add_ps(x[3], x[7]));
    for (int j = 0; j < ALL; j += 2)
        _mm512_storeu_si512(p + VECTOR * j, stored_of(x[j], x[j + 1]));
}

static void softmax(const struct sy_attention *op, const struct sight *sight, const struct buffers *u,
                    struct row_state *state, int64_t rows) {
    int half = vectors_seen(sight) == HALF;
    for (int64_t r = 0; r < rows; r++) {
        const float *s = u->s + r * KEYS;
        uint16_t *p = u->p.at + r * KEYS;
        if (sees_none(sight->row[r]))
            memset(p, 0, KEYS * sizeof *p);
        else if (half)
            softmax_row(op, sight->row[r], s, &state[r], p, HALF);
        else
            softmax_row(op, sight->row[r], s, &state[r], p, ALL);
    }
}

/* O = CHAIN over the block's keys of (p, v). Where v is not finite, rows without an allowed key are put back:
 * the block changes nothing there. */
static void add_values(const struct sy_attention *op, const struct sight *sight, struct buffers *u,
                       int64_t block, int64_t rows) {
    int64_t row = u->w.value_row;
    int whole = !u->finite[block];
    if (whole)
        memcpy(u->kept, u->o, (size_t)(rows * row) * sizeof(float));
    add_products(&(struct chains){sight->group, rows / GROUP, pairs_in(op, block), op->dv, whole},
                 as_left(u->p, 0), u->values + block * KEY_PAIRS * row, (struct sums){u->o, row, 0});
    for (int64_t r = 0; r < rows && whole; r++)
        if (sees_none(sight->row[r]))
            memcpy(u->o + r * row, u->kept + r * row, (size_t)row * sizeof(float));
}

static void finish(const struct sy_attention *op, struct tokens at, int64_t r,
                   const struct row_state *state) {
    int nan = state->nan || !(state->z > 0.0f);
    float inverse = nan ? NAN : 1.0f / state->z, lse = state->m + sy_log2_f32(state->z);
    finish_row(op->dv, state->o, inverse, token_row(op->o, at, r));
    op->lse[(at.first + r) * op->heads + at.head] = nan ? NAN : lse;
}

/* The queries of the tile after this one, while this one is computed. */
static void fetch_next(const struct sy_attention *op, const struct queries *q) {
    int64_t next = q->i0 + q->n;
    struct tokens at = {q->b * op->seq_len + next, min64(QUERIES, op->seq_len - next), q->head};
    for (int p = 0; p < op->n_slices; p++)
        fetch(op->slice[p].q, at, op->slice[p].d);
}

static void tile(const struct sy_attention *op, const struct queries *q, struct buffers *u) {
    struct tokens at = {q->b * op->seq_len + q->i0, q->n, q->head};
    int64_t first = first_block(op, q->b, q->i0, q->n), last = (q->i0 + q->n - 1) / KEYS;
    int64_t rows = up_to(q->n, GROUP); /* the groups behind them see nothing */
    struct row_state state[QUERIES];
    struct sight sight;
    need(op, u, q, first, last);
    for (int r = 0; r < QUERIES; r++)
        state[r] = (struct row_state){-INFINITY, 0.0f, 0, u->o + r * u->w.value_row};
    memset(u->o, 0, (size_t)(rows * u->w.value_row) * sizeof(float));
    gather_parts(op, 0, at, rows, u->q);
    fetch_next(op, q);
    for (int64_t block = first; block <= last; block++) {
        see(op, q, block * KEYS, &sight);
        scores(u->w.pairs, u->q, u->keys + block * KEYS * u->w.pairs, &sight, u->s);
        softmax(op, &sight, u, state, rows);
        add_values(op, &sight, u, block, rows);
    }
    for (int64_t r = 0; r < q->n; r++)
        finish(op, at, r, &state[r]);
}

/* --- one query ------------------------------------------------------------------------------------------ */

static void one(const struct sy_attention *op, int64_t head) {
    float s[KEYS] = {0}, o[ONE_WIDTH] = {0};
    uint16_t p[KEYS];
    int64_t kv = head / (op->heads / op->kv_heads);
    struct row_state state = {-INFINITY, 0.0f, 0, o};
    for (int64_t j0 = 0; j0 < op->seq_len; j0 += KEYS) {
        int64_t n = min64(KEYS, op->seq_len - j0);
        one_scores(op, head, kv, j0, n, s);
        if (n <= KEYS / 2)
            softmax_row(op, (struct keys){0, n}, s, &state, p, HALF);
        else
            softmax_row(op, (struct keys){0, n}, s, &state, p, ALL);
        one_values(op, kv, (struct keys){j0, j0 + n}, p, o);
    }
    one_in_order(op->dv, o);
    finish(op, (struct tokens){op->first, 1, head}, 0, &state);
}

/* Queries of several texts: a thread has some heads of each. */
struct ones {
    const struct sy_attention *op;
    int n;
};

static void run_ones(void *arg, int thread, int n_threads) {
    const struct ones *w = arg;
    int64_t lo, hi;
    sy_range(w->op->heads, 1, thread, n_threads, &lo, &hi);
    for (int i = 0; i < w->n; i++)
        for (int64_t h = lo; h < hi; h++)
            one(&w->op[i], h);
}

/* Whether all are such queries; then they are done. */
static int do_ones(const struct sy_exec *x, const struct sy_attention *op, int n) {
    int64_t work = 0;
    for (int i = 0; i < n; i++) {
        int64_t d = op[i].slice[0].d + (op[i].n_slices > 1 ? op[i].slice[1].d : 0) + op[i].dv;
        if (!is_one(&op[i]))
            return 0;
        work += op[i].heads * op[i].seq_len * d / 16;
    }
    sy_pool_run(pool_for(x, work), run_ones, &(struct ones){op, n});
    return 1;
}

/* --- who does what -------------------------------------------------------------------------------------- */

struct work {
    const struct sy_exec *x;
    const struct sy_attention *op;
    int64_t blocks; /* of all tiles together */
};

/* Tiles in order, with `begin` blocks before the tile: does those whose middle lies in the thread's share.
 * Returns the blocks of all. */
static int64_t tiles(const struct work *w, int thread, int n_threads, struct buffers *u) {
    const struct sy_attention *op = w->op;
    int64_t done = 0, group = op->heads / op->kv_heads;
    for (int64_t b = 0; b < op->sequences; b++)
        for (int64_t h = 0; h < op->heads; h++)
            for (int64_t i = op->first; i < op->seq_len; i += QUERIES) {
                struct queries q = {b, i, min64(QUERIES, op->seq_len - i), h, h / group};
                int64_t cost = (i + q.n - 1) / KEYS + 1 - first_block(op, b, i, q.n);
                int64_t middle = (2 * done + cost) * n_threads, all = 2 * w->blocks;
                if (u && middle >= all * thread && middle < all * (thread + 1))
                    tile(op, &q, u);
                done += cost;
            }
    return done;
}

static void run(void *arg, int thread, int n_threads) {
    struct work *w = arg;
    struct buffers u = carve(w->x, w->op, sy_exec_scratch(w->x, thread));
    tiles(w, thread, n_threads, &u);
}

void SY_FN(attention_fwd)(const struct sy_exec *x, const struct sy_attention *op) {
    struct work w = {x, op, 0};
    if (x->cls != SY_NUMERIC_X86) {
        sy_attention_fwd_avx512(x, op);
        return;
    }
    if (do_ones(x, op->n_texts ? op->texts : op, op->n_texts ? op->n_texts : 1))
        return;
    for (int i = 0; i < op->n_texts; i++)
        SY_FN(attention_fwd)(x, &op->texts[i]);
    if (op->n_texts > 0)
        return;
    w.blocks = tiles(&w, 0, 1, NULL);
    sy_pool_run(x->pool, run, &w);
}
