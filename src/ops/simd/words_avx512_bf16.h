/* What micro-tiles of words of two rows share (tiers avx512_bf16, amx): packing, and how accumulators end.
 * A word is rows 2p, 2p + 1 of k of one lane, the even row in its low half.
 */
#ifndef SY_OPS_SIMD_WORDS_AVX512_BF16_H
#define SY_OPS_SIMD_WORDS_AVX512_BF16_H

#include <immintrin.h>

#include "ops/ref/product_kernel.h"
#include "ops/simd/transpose.h"

enum { WORDS = 16 };

/* --- packing -------------------------------------------------------------------------------------------- */

static inline uint16_t element(const struct lanes *l, int64_t i, int64_t p) {
    return i < l->n && p < l->k ? ((const uint16_t *)l->v.data)[i * l->v.row + p * l->v.col] : 0;
}

/* Rows p, p + 1 of 16 lanes, which are contiguous. */
static inline __m512i interleaved(const struct lanes *l, int64_t p) {
    const uint16_t *s = (const uint16_t *)l->v.data + p * l->v.col;
    __mmask16 lanes = (__mmask16)((1u << l->n) - 1);
    __m512i even = _mm512_setzero_si512(), odd = even;
    if (p < l->k)
        even = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, s));
    if (p + 1 < l->k)
        odd = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, s + l->v.col));
    return _mm512_or_si512(even, _mm512_slli_epi32(odd, 16));
}

/* Rows p .. p + 31 of lane i, whose rows of k are contiguous. */
static inline __m512i words_of(const struct lanes *l, int64_t i, int64_t p) {
    int64_t left = l->k - p;
    __mmask32 rows = left >= 32 ? ~(__mmask32)0 : left > 0 ? (1u << left) - 1 : 0;
    return _mm512_maskz_loadu_epi16(rows, (const uint16_t *)l->v.data + i * l->v.row + p);
}

/* dst[step * stride + lane]. */
static inline void pack_steps(const struct lanes *l, uint32_t *dst, int64_t stride) {
    if (l->v.row == 1) {
        for (int64_t p = 0; p < l->k_pad; p += 2, dst += stride)
            _mm512_storeu_si512(dst, interleaved(l, p));
    } else if (l->v.col == 1) {
        for (int64_t p = 0; p < l->k_pad; p += 32, dst += WORDS * stride) {
            __m512i r[WORDS];
            for (int i = 0; i < WORDS; i++)
                r[i] = i < l->n ? words_of(l, i, p) : _mm512_setzero_si512();
            transpose_16x16(r);
            if (p + 32 <= l->k_pad)
                for (int q = 0; q < WORDS; q++)
                    _mm512_storeu_si512(dst + q * stride, r[q]);
            else
                for (int q = 0; p + 2 * q < l->k_pad; q++)
                    _mm512_storeu_si512(dst + q * stride, r[q]);
        }
    } else {
        for (int64_t p = 0; p < l->k_pad; p += 2, dst += stride)
            for (int64_t i = 0; i < WORDS; i++)
                dst[i] = (uint32_t)element(l, i, p) | (uint32_t)element(l, i, p + 1) << 16;
    }
}

/* --- ends ----------------------------------------------------------------------------------------------- */

/* 16 accumulators of row i, from column 16 j on, + 0.0f already. VCVTNEPS2BF16 is BF of classes that flush: to
 * nearest even, a subnormal becomes a zero of its sign. */
static inline void end(const struct micro *t, int i, int j, __m512 v) {
    float *to = (float *)t->to + i * t->to_row + j * 16;
    if (t->end == MICRO_ROUND)
        _mm256_storeu_si256((void *)((uint16_t *)t->to + i * t->to_row + j * 16),
                            (__m256i)_mm512_cvtneps_pbh(v));
    else if (t->end == MICRO_FOLD)
        _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), v));
    else if (t->end == MICRO_STREAM && ((uintptr_t)to & 63) == 0)
        _mm512_stream_ps(to, v);
    else
        _mm512_storeu_ps(to, v);
}

#endif
