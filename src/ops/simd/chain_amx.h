/* A tile of chain.h in class amx by TDPBF16PS, for attention in the tier amx: block by block of 32 rows, operands
 * packed as words of two rows in passing. A bf16 value is the upper half of its fp32. For chain.h alone.
 */
#ifndef SY_OPS_SIMD_CHAIN_AMX_H
#define SY_OPS_SIMD_CHAIN_AMX_H

#include "ops/simd/tiles_amx.h"

enum { TILES_M = 128, TILES_N = 32 };

/* 32 values of each of m rows: left[i][16 words]. */
static inline void words_of_rows(int64_t m, const float *a, int64_t a_row, uint32_t *left) {
    for (int64_t i = 0; i < m; i++, a += a_row, left += TILE_WORDS)
        for (int h = 0; h < 2; h++) {
            __m512i v = _mm512_srli_epi32(_mm512_loadu_si512(a + 16 * h), 16);
            _mm256_storeu_si256((void *)(left + 8 * h), _mm512_cvtepi32_epi16(v));
        }
}

/* 32 rows of 32 columns: right[16 steps][32]. */
static inline void words_of_columns(const float *b, int64_t b_row, uint32_t *right) {
    const __m512i high = _mm512_set1_epi32((int)0xffff0000u);
    for (int q = 0; q < TILE_WORDS; q++, b += 2 * b_row, right += TILES_N)
        for (int j = 0; j < TILES_N; j += 16) {
            __m512i even = _mm512_srli_epi32(_mm512_loadu_si512(b + j), 16);
            __m512i odd = _mm512_and_si512(_mm512_loadu_si512(b + b_row + j), high);
            _mm512_storeu_si512(right + j, _mm512_or_si512(even, odd));
        }
}

/* m a multiple of 16, at most 128. */
static __attribute__((noinline)) void chain_by_tiles(const struct chain_args *t) {
    _Alignas(64) uint32_t left[TILES_M * TILE_WORDS], right[TILE_WORDS * TILES_N];
    const int64_t bytes = t->acc_row * (int64_t)sizeof *t->acc;
    assert(t->m % TILE_ROWS == 0 && t->m <= TILES_M && t->n % TILES_N == 0);
    sy_amx_tiles(TILE_ROWS);
    for (int64_t p = 0; p < t->k; p += 2 * TILE_WORDS) {
        words_of_rows(t->m, t->a + p, t->a_row, left);
        for (int64_t j = 0; j < t->n; j += TILES_N) {
            words_of_columns(t->b + p * t->b_row + j, t->b_row, right);
            memory_is_read(left);
            _tile_loadd(5, right, 4 * TILES_N);
            _tile_loadd(6, right + 16, 4 * TILES_N);
            for (int64_t i = 0; i < t->m; i += TILE_ROWS) {
                float *acc = t->acc + i * t->acc_row + j;
                _tile_loadd(4, left + i * TILE_WORDS, 4 * TILE_WORDS);
                _tile_loadd(0, acc, bytes);
                _tile_dpbf16ps(0, 4, 5);
                _tile_stored(0, acc, bytes);
                _tile_loadd(1, acc + 16, bytes);
                _tile_dpbf16ps(1, 4, 6);
                _tile_stored(1, acc + 16, bytes);
            }
        }
    }
}

#endif
