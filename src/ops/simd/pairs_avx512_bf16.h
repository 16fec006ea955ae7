/* Chains of class x86 by VDPBF16PS, whose step is the class's: a pair of rows, the odd one first, subnormals
 * flushed (NUMERICS 1).
 *
 * A word is a pair (2p, 2p + 1) along the chain, the even one in its low half:
 *
 *     left     word (i, p) of row i stands at[i row + p pair]; a matrix of stored values is one as it is
 *     right    panels of 32 columns, [columns/32][pairs][32], zeros where columns are missing
 *     sums     [rows, columns] in fp32
 *
 * Eight rows by 32 columns of sums stay in registers. A caller may begin and end a chain at any pair.
 */
#ifndef SY_OPS_SIMD_PAIRS_AVX512_BF16_H
#define SY_OPS_SIMD_PAIRS_AVX512_BF16_H

#include <immintrin.h>

#include "ops/ref/tier.h"
#include "ops/simd/transpose.h"

enum { GROUP = 8, PANEL = 32, VECTOR = 16 };

typedef uint32_t word __attribute__((may_alias)); /* rows of stored values are read by words */

struct left {
    const word *at;
    int64_t row, pair;
};

struct sums {
    float *at;
    int64_t row;
    int begin; /* the chain begins: what is there is not read */
};

/* sums[8, 16 vectors] go on over the pairs; called with constants, so that all stays in registers. */
static inline __attribute__((always_inline)) void micro(int64_t pairs, struct left a, const uint32_t *b,
                                                        struct sums c, const int vectors) {
    __m512 s[GROUP][2];
    for (int i = 0; i < GROUP; i++)
        for (int j = 0; j < vectors; j++)
            s[i][j] = c.begin ? _mm512_setzero_ps() : _mm512_loadu_ps(c.at + i * c.row + j * VECTOR);
    for (int64_t p = 0; p < pairs; p++) {
        __m512bh right[2];
        for (int j = 0; j < vectors; j++)
            right[j] = (__m512bh)_mm512_loadu_si512(b + p * PANEL + j * VECTOR);
        for (int i = 0; i < GROUP; i++) {
            __m512bh ai = (__m512bh)_mm512_set1_epi32((int)a.at[i * a.row + p * a.pair]);
            for (int j = 0; j < vectors; j++)
                s[i][j] = _mm512_dpbf16_ps(s[i][j], ai, right[j]);
        }
    }
    for (int i = 0; i < GROUP; i++)
        for (int j = 0; j < vectors; j++)
            _mm512_storeu_ps(c.at + i * c.row + j * VECTOR, s[i][j]);
}

/* Words of a row side by side, or of a pair. */
static __attribute__((noinline)) void micro_rows(int64_t pairs, struct left a, const uint32_t *b,
                                                 struct sums c) {
    micro(pairs, (struct left){a.at, a.row, 1}, b, c, 2);
}
static __attribute__((noinline)) void micro_rows_narrow(int64_t pairs, struct left a, const uint32_t *b,
                                                        struct sums c) {
    micro(pairs, (struct left){a.at, a.row, 1}, b, c, 1);
}
static __attribute__((noinline)) void micro_pairs(int64_t pairs, struct left a, const uint32_t *b,
                                                  struct sums c) {
    micro(pairs, (struct left){a.at, 1, a.pair}, b, c, 2);
}
static __attribute__((noinline)) void micro_pairs_narrow(int64_t pairs, struct left a, const uint32_t *b,
                                                         struct sums c) {
    micro(pairs, (struct left){a.at, 1, a.pair}, b, c, 1);
}

/* Eight rows of sums by up to 32 columns, of which the last 16 are left out if there are not so many. */
static inline void chain_group(int64_t pairs, struct left a, const uint32_t *b, int64_t columns,
                               struct sums c) {
    if (a.pair == 1)
        (columns > VECTOR ? micro_rows : micro_rows_narrow)(pairs, a, b, c);
    else
        (columns > VECTOR ? micro_pairs : micro_pairs_narrow)(pairs, a, b, c);
}

/* --- words ---------------------------------------------------------------------------------------------- */

/* Words of 16 columns, from a row each of their low and high halves. */
static inline __m512i words_of(__m256i even, __m256i odd) {
    return _mm512_or_si512(_mm512_cvtepu16_epi32(even), _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16));
}

struct stored { /* rows of stored values, `row` apart and zero up to it, a multiple of 32 */
    uint16_t *at;
    int64_t row;
};

/* A right-hand side whose chain runs along the rows of src: word (p, j) is elements 2p and 2p + 1 of row j.
 * rows is a multiple of 32. */
static inline void pack_along_rows(struct stored src, int64_t rows, int64_t pairs, uint32_t *dst) {
    for (int64_t panel = 0; panel < rows; panel += PANEL, dst += pairs * PANEL)
        for (int64_t j = 0; j < PANEL; j += 16)
            for (int64_t p = 0; p < pairs; p += 16) {
                __m512i r[16];
                for (int q = 0; q < 16; q++)
                    r[q] = _mm512_loadu_si512(src.at + (panel + j + q) * src.row + 2 * p);
                transpose_16x16(r);
                for (int64_t q = 0; q < 16 && p + q < pairs; q++)
                    _mm512_storeu_si512(dst + (p + q) * PANEL + j, r[q]);
            }
}

/* One whose chain runs down the rows: word (p, j) is column j of rows 2p and 2p + 1. */
static inline void pack_down_rows(struct stored src, int64_t pairs, int64_t columns, uint32_t *dst) {
    for (int64_t panel = 0; panel < columns; panel += PANEL)
        for (int64_t p = 0; p < pairs; p++, dst += PANEL) {
            const uint16_t *even = src.at + 2 * p * src.row + panel, *odd = even + src.row;
            for (int j = 0; j < PANEL; j += VECTOR)
                _mm512_storeu_si512(dst + j, words_of(_mm256_loadu_si256((const void *)(even + j)),
                                                      _mm256_loadu_si256((const void *)(odd + j))));
        }
}

/* Whether no element is Inf or NaN. */
static inline int all_stored_finite(struct stored src, int64_t rows) {
    const __m512i top = _mm512_set1_epi16(0x7f80);
    __mmask32 found = 0;
    for (int64_t i = 0; i < rows * src.row; i += 32)
        found |= _mm512_cmpeq_epi16_mask(_mm512_and_si512(_mm512_loadu_si512(src.at + i), top), top);
    return found == 0;
}

#endif
