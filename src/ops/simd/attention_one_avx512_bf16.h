/* Attention of one query, the last of its sequence, that sees all keys: what a text needs for its next
 * token (model/cache.h). The order of sums is that of attention_fwd_avx512_bf16.c; no key is masked, so
 * that nothing depends on whether values are finite.
 *
 * Keys and values are read once, where they lie: 16 keys by 16 words are turned in registers, 16 chains
 * side by side; of two rows of values the words of a pair are made by unpacking, which leaves the columns
 * of each 32 in the order of `column`; they are put right at the end.
 */
#ifndef SY_OPS_SIMD_ATTENTION_ONE_AVX512_BF16_H
#define SY_OPS_SIMD_ATTENTION_ONE_AVX512_BF16_H

#include "ops/simd/attention_avx512_bf16.h"

enum { ONE_WIDTH = 512 }; /* at most: of a part, of the values */

/* Whether an op is one such query of a sequence, in whole vectors. */
static inline int is_one(const struct sy_attention *op) {
    int whole =
        op->sequences == 1 && op->first + 1 == op->seq_len && op->dv % PANEL == 0 && op->dv <= ONE_WIDTH;
    for (int p = 0; p < op->n_slices; p++)
        whole &= op->slice[p].d % PANEL == 0;
    return whole && allowed_keys(op, 0, op->first).lo == 0;
}

static inline const uint16_t *head_of(struct sy_heads v, int64_t token, int64_t head) {
    return (const uint16_t *)v.data + token * v.token + head * v.head;
}

/* s[n], up to KEYS of them: scores of the query with the keys from j0 on; behind the last key those of the
 * last. */
static inline void one_scores(const struct sy_attention *op, int64_t head, int64_t kv, int64_t j0, int64_t n,
                              float *s) {
    for (int64_t j = 0; j < n; j += VECTOR) {
        __m512 sum = _mm512_setzero_ps();
        for (int q = 0; q < op->n_slices; q++) {
            const struct sy_head_slice *part = &op->slice[q];
            const uint16_t *query = head_of(part->q, op->first, head), *key[VECTOR];
            for (int i = 0; i < VECTOR; i++)
                key[i] = head_of(part->k, j0 + min64(j + i, n - 1), kv);
            for (int64_t d = 0; d < part->d; d += PANEL) {
                __m512i r[VECTOR];
                for (int i = 0; i < VECTOR; i++)
                    r[i] = _mm512_loadu_si512(key[i] + d);
                transpose_16x16(r);
                for (int i = 0; i < VECTOR; i++) {
                    int w;
                    memcpy(&w, query + d + 2 * i, sizeof w);
                    sum = _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(w), (__m512bh)r[i]);
                }
            }
        }
        _mm512_storeu_ps(s + j, sum);
    }
}

/* o[dv] = CHAIN over n keys from j0 on of (p, v), going on; columns as unpacking leaves them. */
static inline __attribute__((always_inline)) void one_columns(const struct sy_attention *op, int64_t kv,
                                                              struct keys keys, const uint16_t *p, int64_t c,
                                                              const int panels, float *o) {
    __m512 sum[8];
    for (int i = 0; i < 2 * panels; i++)
        sum[i] = _mm512_loadu_ps(o + c + VECTOR * i);
    for (int64_t j = keys.lo; j < keys.hi; j += 2, p += 2) {
        const uint16_t *even = head_of(op->v, j, kv) + c, *odd = j + 1 < keys.hi ? even + op->v.token : NULL;
        int w;
        memcpy(&w, p, sizeof w);
        __m512bh both = (__m512bh)_mm512_set1_epi32(w);
        for (int i = 0; i < panels; i++) {
            __m512i a = _mm512_loadu_si512(even + PANEL * i),
                    b = odd ? _mm512_loadu_si512(odd + PANEL * i) : _mm512_setzero_si512();
            sum[2 * i] = _mm512_dpbf16_ps(sum[2 * i], both, (__m512bh)_mm512_unpacklo_epi16(a, b));
            sum[2 * i + 1] = _mm512_dpbf16_ps(sum[2 * i + 1], both, (__m512bh)_mm512_unpackhi_epi16(a, b));
        }
    }
    for (int i = 0; i < 2 * panels; i++)
        _mm512_storeu_ps(o + c + VECTOR * i, sum[i]);
}

static inline void one_values(const struct sy_attention *op, int64_t kv, struct keys keys, const uint16_t *p,
                              float *o) {
    int64_t c = 0;
    for (; c + 4 * PANEL <= op->dv; c += 4 * PANEL)
        one_columns(op, kv, keys, p, c, 4, o);
    for (; c < op->dv; c += PANEL)
        one_columns(op, kv, keys, p, c, 1, o);
}

/* The columns of each 32 in their order: unpacking took 4 of each 8 to either vector. */
static inline void one_in_order(int64_t dv, float *o) {
    const __m512i low = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23),
                  high = _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
    for (int64_t c = 0; c < dv; c += PANEL) {
        __m512 a = _mm512_loadu_ps(o + c), b = _mm512_loadu_ps(o + c + VECTOR);
        _mm512_storeu_ps(o + c, _mm512_permutex2var_ps(a, low, b));
        _mm512_storeu_ps(o + c + VECTOR, _mm512_permutex2var_ps(a, high, b));
    }
}

#endif
