/* Micro-tiles of fp32 words by FMA, for the tiers avx2 and avx512:
 *
 *     fp32    a word is a row of k
 *     x86     a word is a bf16 value widened; of a pair of rows the odd one is packed first, and the chain
 *             runs under FTZ and DAZ
 *     amx     likewise; of 32 rows the even ones are packed first, then the odd ones: chains of their own
 *
 * The accumulators of MR x NR outputs fill the registers but for a row of the right-hand side and one value;
 * in class amx those of a half-block do, and the outputs' own stand in memory.
 */
#ifndef SY_OPS_SIMD_PRODUCT_F32_H
#define SY_OPS_SIMD_PRODUCT_F32_H

#include "ops/ref/product_kernel.h"
#include "ops/simd/transpose.h"

#if defined(__AVX512F__)
enum { VL = 16, MR = 14 };
typedef __m512 vec;
#define VEC(name) _mm512_##name
#define TURN transpose_16x16
typedef __m512i words;
static inline words load_words(const void *p) { return _mm512_loadu_si512(p); }
static inline void store_words(void *p, words w) { _mm512_storeu_si512(p, w); }
static inline words widened(const uint16_t *p) {
    return _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p)), 16);
}
/* The first n of them, and +0. */
static inline words few_words(const void *p, int64_t n) {
    return _mm512_maskz_loadu_epi32((__mmask16)((1u << n) - 1), p);
}
static inline words few_widened(const uint16_t *p, int64_t n) {
    __m256i v = _mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), p);
    return _mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16);
}
#define ROWS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#else
enum { VL = 8, MR = 6 };
typedef __m256 vec;
#define VEC(name) _mm256_##name
#define TURN transpose_8x8
typedef __m256i words;
static inline words load_words(const void *p) { return _mm256_loadu_si256(p); }
static inline void store_words(void *p, words w) { _mm256_storeu_si256(p, w); }
static inline words widened(const uint16_t *p) {
    return _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p)), 16);
}
/* The first n of them, and +0. */
static inline words few_words(const void *p, int64_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_maskload_epi32(p, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane));
}
static inline words few_widened(const uint16_t *p, int64_t n) {
    uint16_t some[8] = {0};
    memcpy(some, p, (size_t)n * sizeof *p);
    return widened(some);
}
#define ROWS(X) X(1) X(2) X(3) X(4) X(5) X(6)
#endif
enum { NRV = 2, NR = NRV * VL, LANES = VL };

/* --- packing -------------------------------------------------------------------------------------------- */

static uint32_t element(const struct lanes *l, int64_t i, int64_t p) {
    int64_t at = i * l->v.row + p * l->v.col;
    if (i >= l->n || p >= l->k)
        return 0;
    return l->v.dtype == SY_F32 ? ((const uint32_t *)l->v.data)[at]
                                : (uint32_t)((const uint16_t *)l->v.data)[at] << 16;
}

static inline words words_at(const struct lanes *l, int64_t i, int64_t p) {
    int64_t at = i * l->v.row + p * l->v.col;
    return l->v.dtype == SY_F32 ? load_words((const float *)l->v.data + at)
                                : widened((const uint16_t *)l->v.data + at);
}

/* Row p of k, of the lanes that there are. */
static inline words few_at(const struct lanes *l, int64_t p) {
    int64_t at = p * l->v.col;
    return l->v.dtype == SY_F32 ? few_words((const float *)l->v.data + at, l->n)
                                : few_widened((const uint16_t *)l->v.data + at, l->n);
}

/* The step of row p of k. */
static inline int64_t place(enum sy_numeric_class cls, int64_t p) {
    return cls == SY_NUMERIC_X86   ? p ^ 1
           : cls == SY_NUMERIC_AMX ? (p & ~31) | (p & 1) << 4 | (p & 31) >> 1
                                   : p;
}

/* Rows lo .. hi-1, word by word. */
static void pack_words(const struct lanes *l, int64_t lo, int64_t hi, uint32_t *dst, int64_t stride) {
    for (int64_t p = lo; p < hi; p++)
        for (int64_t i = 0; i < VL; i++)
            dst[place(l->cls, p) * stride + i] = element(l, i, p);
}

static void pack(const struct lanes *l, uint32_t *dst, int64_t stride) {
    int64_t done = 0;
    if (l->v.row == 1) {
        for (; done < l->k; done++)
            store_words(dst + place(l->cls, done) * stride,
                        l->n == VL ? words_at(l, 0, done) : few_at(l, done));
    } else if (l->v.col == 1) {
        for (; done + VL <= l->k; done += VL) {
            words r[VL];
            for (int i = 0; i < VL; i++)
                r[i] = i < l->n ? words_at(l, i, done) : (words){0};
            TURN(r);
            for (int q = 0; q < VL; q++)
                store_words(dst + place(l->cls, done + q) * stride, r[q]);
        }
    }
    pack_words(l, done, l->k_pad, dst, stride);
}

/* --- chains --------------------------------------------------------------------------------------------- */

static inline void end(const struct micro *t, int i, int j, vec v) {
    float *to = (float *)t->to + i * t->to_row + j * VL;
    if (t->end == MICRO_FOLD)
        VEC(storeu_ps)(to, VEC(add_ps)(VEC(loadu_ps)(to), v));
    else if (t->end == MICRO_STREAM && ((uintptr_t)to & (VL * sizeof(float) - 1)) == 0)
        VEC(stream_ps)(to, v);
    else
        VEC(storeu_ps)(to, v);
}

/* One more term of each chain. */
static inline __attribute__((always_inline)) void step(const int rows, const float *a, const float *b,
                                                       vec c[MR][NRV]) {
    vec row[NRV];
    for (int j = 0; j < NRV; j++)
        row[j] = VEC(loadu_ps)(b + j * VL);
    for (int i = 0; i < rows; i++) {
        vec ai = VEC(set1_ps)(a[i]);
        for (int j = 0; j < NRV; j++)
            c[i][j] = VEC(fmadd_ps)(ai, row[j], c[i][j]);
    }
}

static inline __attribute__((always_inline)) void chains(const int rows, const struct micro *t) {
    vec c[MR][NRV];
    const float *a = (const float *)t->a, *b = (const float *)t->b;
    const char *next = t->next;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < NRV; j++)
            c[i][j] = t->from ? VEC(loadu_ps)(t->from + i * t->from_row + j * VL) : VEC(setzero_ps)();
    for (int64_t p = t->steps; p > 0; p--, a += LANES, b += NR, next += 64) {
        _mm_prefetch(next, _MM_HINT_T1);
        step(rows, a, b, c);
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < NRV; j++)
            end(t, i, j, t->end == MICRO_CUT ? c[i][j] : VEC(add_ps)(c[i][j], VEC(setzero_ps)()));
}

/* Half a block of class amx: 16 steps from +0. */
static inline __attribute__((always_inline)) void half_block(const int rows, const float *a, const float *b,
                                                             vec to[MR][NRV]) {
    vec c[MR][NRV];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < NRV; j++)
            c[i][j] = VEC(setzero_ps)();
    for (int p = 0; p < 16; p++, a += LANES, b += NR) {
        step(rows, a, b, c);
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < NRV; j++)
            to[i][j] = c[i][j];
}

static inline __attribute__((always_inline)) void blocks(const int rows, const struct micro *t) {
    vec c[MR][NRV], even[MR][NRV], odd[MR][NRV];
    const float *a = (const float *)t->a, *b = (const float *)t->b;
    const char *next = t->next;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < NRV; j++)
            c[i][j] = t->from ? VEC(loadu_ps)(t->from + i * t->from_row + j * VL) : VEC(setzero_ps)();
    for (int64_t p = 0; p < t->steps; p += 32, a += 32 * LANES, b += 32 * NR) {
        for (int q = 0; q < 32; q++, next += 64)
            _mm_prefetch(next, _MM_HINT_T1);
        half_block(rows, a, b, even);
        half_block(rows, a + 16 * LANES, b + 16 * NR, odd);
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < NRV; j++)
                c[i][j] = VEC(add_ps)(c[i][j], VEC(add_ps)(even[i][j], odd[i][j]));
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < NRV; j++)
            end(t, i, j, t->end == MICRO_CUT ? c[i][j] : VEC(add_ps)(c[i][j], VEC(setzero_ps)()));
}

typedef void run_of(const struct micro *);
#define X(n)                                                        \
    static void chains_##n(const struct micro *t) { chains(n, t); } \
    static void blocks_##n(const struct micro *t) { blocks(n, t); }
ROWS(X)
#undef X
static run_of *const chains_of[MR + 1] = {NULL,
#define X(n) chains_##n,
                                          ROWS(X)
#undef X
};
static run_of *const blocks_of[MR + 1] = {NULL,
#define X(n) blocks_##n,
                                          ROWS(X)
#undef X
};

/* Where a class flushes, what is no chain, a fold or a rounding, is done with subnormals on; of no steps,
 * all of it. */
static void micro(int rows, const struct micro *t) {
    float sums[MR * NR];
    struct micro run = *t;
    int flush = sy_class_flushes(t->cls) && t->steps > 0;
    int apart = t->end == MICRO_ROUND || (t->end == MICRO_FOLD && flush);
    if (apart) {
        run.end = MICRO_CUT;
        run.to = sums;
        run.to_row = NR;
    }
    for (int i = 0; t->end == MICRO_FOLD && i < rows; i++) /* needed at the chains' end */
        for (int j = 0; j < NR; j += 16)
            _mm_prefetch((const char *)((const float *)t->to + i * t->to_row + j), _MM_HINT_T0);
    unsigned csr = flush ? _mm_getcsr() : 0;
    if (flush)
        _mm_setcsr(csr | 0x8040u); /* FTZ, DAZ: no compiler moves a call by pointer across it */
    (t->cls == SY_NUMERIC_AMX ? blocks_of : chains_of)[rows](&run);
    if (flush)
        _mm_setcsr(csr);
    for (int i = 0; apart && i < rows; i++)
        micro_store(t, NR, i, sums + i * NR);
}

#endif
