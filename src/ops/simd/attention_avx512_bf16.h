/* What attention forward and backward of the tier avx512_bf16 share: rows of heads side by side, blocks of
 * keys packed as right-hand sides (pairs_avx512_bf16.h), scores of those pairs alone that a query may see.
 *
 * A pair (query, key) that is masked has p = +0: its step changes no sum, as long as what it is multiplied
 * by is finite. So chains run over the keys (queries) that any of eight neighbours needs, or over all of the
 * block where the other operand holds NaN or Inf. */
#ifndef SY_OPS_SIMD_ATTENTION_AVX512_BF16_H
#define SY_OPS_SIMD_ATTENTION_AVX512_BF16_H

#include "ops/ref/attention_keys.h"
#include "ops/simd/pairs_avx512_bf16.h"

enum { KEY_PAIRS = KEYS / 2, QUERY_PAIRS = QUERIES / 2, GROUPS = QUERIES / GROUP, KEY_GROUPS = KEYS / GROUP };

static inline int64_t up_to(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/* The head dimension, its parts side by side and each padded to a pair; the value dimension. */
struct widths {
    int64_t pairs, row;             /* row: of elements, a multiple of 32 */
    int64_t value_pairs, value_row; /* likewise */
};

static inline struct widths widths_of(const struct sy_attention *op) {
    int64_t d = 0;
    for (int p = 0; p < op->n_slices; p++)
        d += up_to(op->slice[p].d, 2);
    return (struct widths){d / 2, up_to(d, PANEL), up_to(op->dv, 2) / 2, up_to(op->dv, PANEL)};
}

/* The next n words of a thread's scratch. */
static inline uint32_t *take_words(uint32_t **next, int64_t n) {
    uint32_t *p = *next;
    *next += up_to(n, 16);
    return p;
}
static inline struct stored take_stored(uint32_t **next, int64_t rows, int64_t row) {
    return (struct stored){(uint16_t *)take_words(next, rows * row / 2), row};
}
static inline float *take_floats(uint32_t **next, int64_t n) { return (float *)take_words(next, n); }

/* --- rows ----------------------------------------------------------------------------------------------- */

/* Column `column` on: d elements of each token, zeros up to column + d_pad. */
static inline void gather(struct sy_heads v, struct tokens at, int64_t d, int64_t d_pad, struct stored dst) {
    for (int64_t r = 0; r < at.n; r++) {
        memcpy(dst.at + r * dst.row, token_row(v, at, r), (size_t)d * 2);
        memset(dst.at + r * dst.row + d, 0, (size_t)(d_pad - d) * 2);
    }
}

/* `rows` rows of values of the tokens, zeros behind the last. */
static inline void gather_values(struct sy_heads v, struct tokens at, int64_t d, int64_t rows,
                                 struct stored dst) {
    gather(v, at, d, dst.row, dst);
    memset(dst.at + at.n * dst.row, 0, (size_t)((rows - at.n) * dst.row) * 2);
}

/* The same of queries (key 0) or keys (key 1), part by part. */
static inline void gather_parts(const struct sy_attention *op, int key, struct tokens at, int64_t rows,
                                struct stored dst) {
    int64_t column = 0;
    for (int p = 0; p < op->n_slices; p++) {
        const struct sy_head_slice *part = &op->slice[p];
        int64_t d_pad = p + 1 < op->n_slices ? up_to(part->d, 2) : dst.row - column;
        gather(key ? part->k : part->q, at, part->d, d_pad, (struct stored){dst.at + column, dst.row});
        column += d_pad;
    }
    memset(dst.at + at.n * dst.row, 0, (size_t)((rows - at.n) * dst.row) * 2);
}

/* to = BF((sums + 0) scale), n values: the end of a chain. */
static inline void finish_row(int64_t n, const float *sums, float scale, uint16_t *to) {
    const __m512 zero = _mm512_setzero_ps(), by = _mm512_set1_ps(scale);
    for (int64_t i = 0; i < n; i += VECTOR) {
        __mmask16 there = n - i < VECTOR ? (__mmask16)((1u << (n - i)) - 1) : 0xffff;
        __m512 x = _mm512_mul_ps(_mm512_add_ps(_mm512_maskz_loadu_ps(there, sums + i), zero), by);
        _mm256_mask_storeu_epi16(to + i, there, (__m256i)_mm512_cvtneps_pbh(x));
    }
}

/* Rows of heads lie far apart: no hardware fetches them ahead of who gathers them. */
static inline void fetch(struct sy_heads v, struct tokens at, int64_t d) {
    for (int64_t r = 0; r < at.n; r++) {
        const char *p = token_row(v, at, r);
        for (int64_t i = 0; i < 2 * d; i += 64)
            __builtin_prefetch(p + i);
    }
}

/* Rows of stored values as a left-hand side whose chain runs along them. */
static inline struct left as_left(struct stored rows, int64_t group) {
    return (struct left){(const word *)rows.at + group * GROUP * rows.row / 2, rows.row / 2, 1};
}

/* --- who sees whom -------------------------------------------------------------------------------------- */

struct queries { /* n from i0 on of sequence b, and their heads */
    int64_t b, i0, n, head, kv;
};

/* Of a tile of queries and a block of keys, counted from the block's first. */
struct sight {
    struct keys row[QUERIES];   /* the keys of each query; lo >= hi: none */
    struct keys group[GROUPS];  /* of any of eight queries */
    struct keys of[KEY_GROUPS]; /* the queries whose group sees any of eight keys */
};

static inline struct keys joined(struct keys a, struct keys b) {
    return (struct keys){min64(a.lo, b.lo), max64(a.hi, b.hi)};
}

static inline void see(const struct sy_attention *op, const struct queries *q, int64_t j0, struct sight *to) {
    for (int64_t g = 0; g < GROUPS; g++)
        to->group[g] = (struct keys){KEYS, 0};
    for (int64_t r = 0; r < QUERIES; r++) {
        struct keys may = {0, 0};
        if (r < q->n)
            may = allowed_keys(op, q->b, q->i0 + r);
        may = to->row[r] = (struct keys){max64(may.lo - j0, 0), min64(may.hi - j0, KEYS)};
        if (may.lo < may.hi)
            to->group[r / GROUP] = joined(to->group[r / GROUP], may);
    }
    for (int64_t g = 0; g < KEY_GROUPS; g++)
        to->of[g] = (struct keys){QUERIES, 0};
    for (int64_t g = 0; g < GROUPS; g++)
        for (int64_t k = to->group[g].lo / GROUP; k * GROUP < to->group[g].hi; k++)
            to->of[k] = joined(to->of[k], (struct keys){g * GROUP, (g + 1) * GROUP});
}

/* Vectors of a row of scores that any query sees: half of a block's, or all. Where it is a constant, loops
 * over them stay in registers. */
enum { HALF = KEYS / VECTOR / 2, ALL = KEYS / VECTOR };
static inline int vectors_seen(const struct sight *sight) {
    int64_t hi = 0;
    for (int g = 0; g < GROUPS; g++)
        hi = max64(hi, sight->group[g].hi);
    return hi <= KEYS / 2 ? HALF : ALL;
}

static inline int sees_none(struct keys k) { return k.lo >= k.hi; }

/* Lanes 16 j .. 16 j + 15 that are in lo .. hi - 1. */
static inline __mmask16 lanes_in(struct keys k, int j) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512i at = _mm512_add_epi32(lane, _mm512_set1_epi32(16 * j - (int)k.lo));
    return _mm512_cmplt_epu32_mask(at, _mm512_set1_epi32(k.lo < k.hi ? (int)(k.hi - k.lo) : 0));
}

/* --- products ------------------------------------------------------------------------------------------- */

/* s[QUERIES, KEYS] = CHAIN over the rows' words; panels of 32 keys that no query of a group sees are left as
 * they are. */
static inline void scores(int64_t pairs, struct stored rows, const uint32_t *right, const struct sight *sight,
                          float *s) {
    for (int64_t j = 0; j < KEYS; j += PANEL)
        for (int64_t g = 0; g < GROUPS; g++)
            if (sight->group[g].lo < j + PANEL && sight->group[g].hi > j)
                chain_group(pairs, as_left(rows, g), right + j * pairs, PANEL,
                            (struct sums){s + g * GROUP * KEYS + j, KEYS, 1});
}

/* The chains of n groups of rows, each over its own pairs; `whole`: over all of them. right is [n_pairs] to a
 * panel. */
struct chains {
    const struct keys *of;
    int64_t groups, n_pairs, columns;
    int whole;
};

static inline void add_products(const struct chains *c, struct left a, const uint32_t *right,
                                struct sums to) {
    int64_t next = a.pair == 1 ? GROUP * a.row : GROUP;
    for (int64_t j = 0; j < c->columns; j += PANEL)
        for (int64_t g = 0; g < c->groups; g++) {
            int64_t lo = c->whole ? 0 : c->of[g].lo / 2, hi = c->whole ? c->n_pairs : (c->of[g].hi + 1) / 2;
            if (lo < hi)
                chain_group(hi - lo, (struct left){a.at + g * next + lo * a.pair, a.row, a.pair},
                            right + j * c->n_pairs + lo * PANEL, c->columns - j,
                            (struct sums){to.at + g * GROUP * to.row + j, to.row, 0});
        }
}

/* --- softmax -------------------------------------------------------------------------------------------- */

/* EXP2 (base/fmath.h). */
static inline __m512 exp2_of(__m512 x) {
    const __m512 big = _mm512_set1_ps(12582912.0f);
    x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-127.0f)), _mm512_set1_ps(127.0f));
    __m512 u = _mm512_add_ps(x, big), f = _mm512_sub_ps(x, _mm512_sub_ps(u, big));
    __m512 p = _mm512_set1_ps(0x1.5bba14p-10f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.3cea88p-7f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.c6b752p-5f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.ebf9bcp-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.62e42ap-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
    return (__m512)_mm512_add_epi32((__m512i)p, _mm512_slli_epi32((__m512i)u, 23));
}

/* BF of 32 values, side by side. */
static inline __m512i stored_of(__m512 low, __m512 high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }

#endif
