/* What attention forward and backward share: blocks of queries and keys widened to fp32, scores, masks.
 *
 * A part of the head dimension (nope, rope) is padded to KB by itself; the packed rows of a block hold the
 * parts one after the other, each padded, so that one chain over the packed width is the chain over the
 * parts.
 */
#ifndef SY_OPS_REF_ATTENTION_H
#define SY_OPS_REF_ATTENTION_H

#include "ops/ref/attention_keys.h"
#include "ops/ref/chain.h"
#if defined(__AVX2__)
#include "ops/simd/transpose.h"
#endif

/* Packed width of the head dimension. */
static inline int64_t packed_width(const struct sy_exec *x, const struct sy_attention *op) {
    int64_t d = 0;
    for (int p = 0; p < op->n_slices; p++)
        d += round_up(op->slice[p].d, x->kb);
    return d;
}

/* dst[r * row + i] = element i < d of token r; columns up to d_pad are zero. */
static inline void pack_rows(struct sy_heads v, struct tokens at, int64_t d, int64_t d_pad, float *dst,
                             int64_t row) {
    for (int64_t r = 0; r < at.n; r++) {
        widen(v.dtype, d, token_row(v, at, r), dst + r * row);
        for (int64_t i = d; i < d_pad; i++)
            dst[r * row + i] = 0.0f;
    }
}

#if defined(__AVX512F__)
enum { SQUARE = 16 };
static inline void turn_square(const float *src, int64_t row, float *dst, int64_t cols) {
    __m512i r[SQUARE];
    for (int i = 0; i < SQUARE; i++)
        r[i] = _mm512_loadu_si512(src + i * row);
    transpose_16x16(r);
    for (int i = 0; i < SQUARE; i++)
        _mm512_storeu_si512(dst + i * cols, r[i]);
}
#elif defined(__AVX2__)
enum { SQUARE = 8 };
static inline void turn_square(const float *src, int64_t row, float *dst, int64_t cols) {
    __m256i r[SQUARE];
    for (int i = 0; i < SQUARE; i++)
        r[i] = _mm256_loadu_si256((const void *)(src + i * row));
    transpose_8x8(r);
    for (int i = 0; i < SQUARE; i++)
        _mm256_storeu_si256((void *)(dst + i * cols), r[i]);
}
#else
enum { SQUARE = 1 };
static inline void turn_square(const float *src, int64_t row, float *dst, int64_t cols) {
    (void)row, (void)cols;
    *dst = *src;
}
#endif

/* dst[c * cols + r] = src[r * row + c] for r < n, c < d; columns n..cols-1 are zero. In squares of a
 * vector's width. */
static inline void transpose(const float *src, int64_t row, int64_t n, int64_t d, float *dst, int64_t cols) {
    int64_t whole_n = n / SQUARE * SQUARE, whole_d = d / SQUARE * SQUARE;
    for (int64_t c = 0; c < whole_d; c += SQUARE)
        for (int64_t r = 0; r < whole_n; r += SQUARE)
            turn_square(src + r * row + c, row, dst + c * cols + r, cols);
    for (int64_t c = 0; c < d; c++) {
        for (int64_t r = c < whole_d ? whole_n : 0; r < n; r++)
            dst[c * cols + r] = src[r * row + c];
        for (int64_t r = n; r < cols; r++)
            dst[c * cols + r] = 0.0f;
    }
}

/* Queries (key 0) or keys (key 1) of one head, the parts side by side. */
static inline void pack_parts(const struct sy_exec *x, const struct sy_attention *op, int key,
                              struct tokens at, float *dst, int64_t row) {
    for (int p = 0; p < op->n_slices; p++) {
        const struct sy_head_slice *part = &op->slice[p];
        int64_t d_pad = round_up(part->d, x->kb);
        pack_rows(key ? part->k : part->q, at, part->d, d_pad, dst, row);
        dst += d_pad;
    }
}

/* Of the keys from j0 on, how many of a block n queries from i0 on reach: with what chains want as their
 * ends. What is behind them is masked, p = +0: a step that changes no sum, as long as what it is multiplied
 * by is finite. */
static inline int64_t keys_reached(int64_t i0, int64_t n, int64_t j0) {
    return min64(KEYS, round_up(i0 + n - j0, CHAIN_N_PAD));
}

static inline int all_finite(const float *v, int64_t n) {
    int finite = 1;
    for (int64_t i = 0; i < n; i++)
        finite &= sy_f32_finite(v[i]);
    return finite;
}

/* s[n_q, KEYS] = CHAIN over the packed head dimension, of the first n keys; k_t is [width, KEYS]. */
static inline void scores(const struct sy_exec *x, int64_t n_q, int64_t n, int64_t width, const float *q,
                          const float *k_t, float *s) {
    memset(s, 0, (size_t)(n_q * KEYS) * 4);
    chain_tile(x->cls, &(struct chain_args){n_q, n, width, q, width, k_t, KEYS, s, KEYS});
    for (int64_t i = 0; i < n_q * KEYS; i++)
        s[i] += 0.0f;
}

static inline float *take(float **next, int64_t n) {
    float *p = *next;
    *next += round_up(n, 16);
    return p;
}

#endif
