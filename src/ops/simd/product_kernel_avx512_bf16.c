/* Micro-tiles of the tier avx512_bf16. Class x86 by VDPBF16PS, the instruction whose steps define it: a pair
 * of rows a word, the odd one first, subnormals flushed (NUMERICS 1). The others are the tier avx512's.
 *
 * A word is rows 2p, 2p + 1 of k of one lane, the even row in its low half. 14 x 32 outputs: 28 of the 32
 * registers are accumulators; from 6 rows on they hide the instruction's latency of 6 cycles.
 */
#include <immintrin.h>

#include "ops/ref/product_kernel.h"
#include "ops/simd/transpose.h"

enum { MR = 14, NR = 32, LANES = 16 };

const struct product_kernel *sy_product_kernel_avx512(enum sy_numeric_class cls);

/* --- packing -------------------------------------------------------------------------------------------- */

static uint16_t element(const struct lanes *l, int64_t i, int64_t p) {
    return i < l->n && p < l->k ? ((const uint16_t *)l->v.data)[i * l->v.row + p * l->v.col] : 0;
}

/* Lanes contiguous: words are two rows, interleaved. */
static void interleave(const struct lanes *l, uint32_t *dst, int64_t stride) {
    const uint16_t *s = l->v.data;
    __mmask16 lanes = (__mmask16)((1u << l->n) - 1);
    for (int64_t p = 0; p < l->k; p += 2, dst += stride, s += 2 * l->v.col) {
        __m512i even = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, s)),
                odd = _mm512_setzero_si512();
        if (p + 1 < l->k)
            odd = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, s + l->v.col));
        _mm512_storeu_si512(dst, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
    }
}

/* Rows of k contiguous: words are read as they are, and turned. */
static void turn(const struct lanes *l, uint32_t *dst, int64_t stride) {
    const uint16_t *s = l->v.data;
    for (int64_t p = 0; p < l->k; p += 32, dst += LANES * stride) {
        int64_t left = l->k - p;
        __mmask32 rows = left < 32 ? (1u << left) - 1 : ~(__mmask32)0;
        __m512i r[LANES];
        for (int i = 0; i < LANES; i++)
            r[i] = i < l->n ? _mm512_maskz_loadu_epi16(rows, s + i * l->v.row + p) : _mm512_setzero_si512();
        transpose_16x16(r);
        if (left >= 32)
            for (int q = 0; q < LANES; q++)
                _mm512_storeu_si512(dst + q * stride, r[q]);
        else
            for (int q = 0; 2 * q < left; q++)
                _mm512_storeu_si512(dst + q * stride, r[q]);
    }
}

static void pack(const struct lanes *l, uint32_t *dst, int64_t stride) {
    if (l->v.row == 1) {
        interleave(l, dst, stride);
    } else if (l->v.col == 1) {
        turn(l, dst, stride);
    } else {
        for (int64_t p = 0; p < l->k; p += 2, dst += stride)
            for (int64_t i = 0; i < LANES; i++)
                dst[i] = (uint32_t)element(l, i, p) | (uint32_t)element(l, i, p + 1) << 16;
    }
}

/* --- chains --------------------------------------------------------------------------------------------- */

/* VCVTNEPS2BF16 is the class's BF: to nearest even, a subnormal becomes a zero of its sign. */
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

static inline __attribute__((always_inline)) void chains(const int rows, const struct micro *t) {
    __m512 c[MR][2];
    const uint32_t *a = t->a, *b = t->b;
    const char *next = t->next;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < 2; j++)
            c[i][j] = t->from ? _mm512_loadu_ps(t->from + i * t->from_row + j * 16) : _mm512_setzero_ps();
    for (int64_t p = t->steps; p > 0; p--, a += LANES, b += NR, next += 64) {
        __m512bh b0 = (__m512bh)_mm512_loadu_si512(b), b1 = (__m512bh)_mm512_loadu_si512(b + 16);
        _mm_prefetch(next, _MM_HINT_T1);
        for (int i = 0; i < rows; i++) {
            __m512bh ai = (__m512bh)_mm512_set1_epi32((int)a[i]);
            c[i][0] = _mm512_dpbf16_ps(c[i][0], ai, b0);
            c[i][1] = _mm512_dpbf16_ps(c[i][1], ai, b1);
        }
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < 2; j++)
            end(t, i, j, t->end == MICRO_CUT ? c[i][j] : _mm512_add_ps(c[i][j], _mm512_setzero_ps()));
}

#define SY_ROWS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#define X(n) \
    static void chains_##n(const struct micro *t) { chains(n, t); }
SY_ROWS(X)
#undef X

static void micro(int rows, const struct micro *t) {
    static void (*const of[MR + 1])(const struct micro *) = {NULL,
#define X(n) chains_##n,
                                                             SY_ROWS(X)
#undef X
    };
    of[rows](t);
}

static const struct product_kernel pairs = {.mr = MR,
                                            .nr = NR,
                                            .lanes = LANES,
                                            .per_word = 2,
                                            .panels = 1,
                                            .kc = {2048, 512},
                                            .stays = 1 << 17,
                                            .pack = pack,
                                            .micro = micro};

const struct product_kernel *SY_FN(product_kernel)(enum sy_numeric_class cls) {
    return cls == SY_NUMERIC_X86 ? &pairs : sy_product_kernel_avx512(cls);
}
