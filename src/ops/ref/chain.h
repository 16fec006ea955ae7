/* CHAIN (NUMERICS 1): the order of a long sum of products, one step for each block of KB rows, for each
 * numeric class.
 *
 * chain_tile continues acc[m, n] with a[m, k] . b[k, n], all fp32 holding stored values. What the callers
 * prepare: k is a multiple of KB (missing rows are +0 in both), n of CHAIN_NR, and a and acc have rows up to
 * a multiple of CHAIN_MR. The final "+ 0.0f" is the caller's. A chain may be cut at any block and go on with
 * the accumulator reloaded.
 *
 * The micro-kernel holds CHAIN_MR x CHAIN_NR accumulators in registers; every lane is one output's own chain.
 * It gets the tile's arguments and where in a, b and acc it is.
 */
#ifndef SY_OPS_REF_CHAIN_H
#define SY_OPS_REF_CHAIN_H

#include "ops/ref/tier.h"

#if defined(__AVX512F__)
#include <immintrin.h>

#include "ops/simd/sm90_avx512.h"
enum { VL = 16, CHAIN_MR = 8 };
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
enum { VL = 8, CHAIN_MR = 4 };
#else
#define CHAIN_PORTABLE 1
enum { VL = 8, CHAIN_MR = 4 };
#endif
enum { CHAIN_NRV = 2, CHAIN_NR = VL * CHAIN_NRV, CHAIN_N_PAD = 32, AMX_STEP = 32 };

struct chain_args {
    int64_t m, n, k;
    const float *a;
    int64_t a_row;
    const float *b;
    int64_t b_row;
    float *acc;
    int64_t acc_row;
};

#include "ops/ref/chain_sm90.h"
#if defined(__AMX_BF16__)
#include "ops/simd/chain_amx.h"
#endif

/* --- fp32, x86 and amx ---------------------------------------------------------------------------------- */

#ifndef CHAIN_PORTABLE

typedef float vec __attribute__((vector_size(VL * 4)));
typedef float vec_in_memory __attribute__((vector_size(VL * 4), aligned(4), may_alias));

static inline vec load(const float *p) { return *(const vec_in_memory *)p; }
static inline void store(float *p, vec v) { *(vec_in_memory *)p = v; }
static inline vec fma_scalar(float a, vec b, vec c) {
#if defined(__AVX512F__)
    return (vec)_mm512_fmadd_ps(_mm512_set1_ps(a), (__m512)b, (__m512)c);
#else
    return (vec)_mm256_fmadd_ps(_mm256_set1_ps(a), (__m256)b, (__m256)c);
#endif
}

/* One row of b after another: acc = fma(a, b, acc). */
static __attribute__((noinline)) void micro_fp32(const struct chain_args *t, const float *a, const float *b,
                                                 float *acc) {
    const int64_t k = t->k, a_row = t->a_row, b_row = t->b_row, acc_row = t->acc_row;
    vec c[CHAIN_MR][CHAIN_NRV];
    for (int i = 0; i < CHAIN_MR; i++)
        for (int j = 0; j < CHAIN_NRV; j++)
            c[i][j] = load(acc + i * acc_row + j * VL);
    for (int64_t p = 0; p < k; p++) {
        vec row[CHAIN_NRV];
        for (int j = 0; j < CHAIN_NRV; j++)
            row[j] = load(b + p * b_row + j * VL);
        for (int i = 0; i < CHAIN_MR; i++)
            for (int j = 0; j < CHAIN_NRV; j++)
                c[i][j] = fma_scalar(a[i * a_row + p], row[j], c[i][j]);
    }
    for (int i = 0; i < CHAIN_MR; i++)
        for (int j = 0; j < CHAIN_NRV; j++)
            store(acc + i * acc_row + j * VL, c[i][j]);
}

#if defined(__AVX512BF16__)
/* Pairs of rows by VDPBF16PS, which is this: the odd one first, subnormals flushed. A bf16 value is the upper
 * half of its fp32, so that two rows are packed in passing. */
static inline uint32_t pair_of(const float *a) {
    return sy_f32_bits(a[0]) >> 16 | (sy_f32_bits(a[1]) & 0xffff0000u);
}
static inline __m512bh pairs_of(const float *even, const float *odd) {
    __m512i lo = _mm512_srli_epi32(_mm512_loadu_si512(even), 16), mask = _mm512_set1_epi32((int)0xffff0000u);
    return (__m512bh)_mm512_or_si512(lo, _mm512_and_si512(_mm512_loadu_si512(odd), mask));
}
static __attribute__((noinline)) void micro_x86(const struct chain_args *t, const float *a, const float *b,
                                                float *acc) {
    const int64_t k = t->k, a_row = t->a_row, b_row = t->b_row, acc_row = t->acc_row;
    __m512 c[CHAIN_MR][CHAIN_NRV];
    for (int i = 0; i < CHAIN_MR; i++)
        for (int j = 0; j < CHAIN_NRV; j++)
            c[i][j] = _mm512_loadu_ps(acc + i * acc_row + j * VL);
    for (int64_t p = 0; p < k; p += 2) {
        __m512bh row[CHAIN_NRV];
        for (int j = 0; j < CHAIN_NRV; j++)
            row[j] = pairs_of(b + p * b_row + j * VL, b + (p + 1) * b_row + j * VL);
        for (int i = 0; i < CHAIN_MR; i++) {
            __m512bh ai = (__m512bh)_mm512_set1_epi32((int)pair_of(a + i * a_row + p));
            for (int j = 0; j < CHAIN_NRV; j++)
                c[i][j] = _mm512_dpbf16_ps(c[i][j], ai, row[j]);
        }
    }
    for (int i = 0; i < CHAIN_MR; i++)
        for (int j = 0; j < CHAIN_NRV; j++)
            _mm512_storeu_ps(acc + i * acc_row + j * VL, c[i][j]);
}
#else
/* Pairs of rows, the odd one first; runs under FTZ and DAZ. */
static __attribute__((noinline)) void micro_x86(const struct chain_args *t, const float *a, const float *b,
                                                float *acc) {
    const int64_t k = t->k, a_row = t->a_row, b_row = t->b_row, acc_row = t->acc_row;
    vec c[CHAIN_MR][CHAIN_NRV];
    for (int i = 0; i < CHAIN_MR; i++)
        for (int j = 0; j < CHAIN_NRV; j++)
            c[i][j] = load(acc + i * acc_row + j * VL);
    for (int64_t p = 0; p < k; p += 2) {
        vec odd[CHAIN_NRV], even[CHAIN_NRV];
        for (int j = 0; j < CHAIN_NRV; j++) {
            even[j] = load(b + p * b_row + j * VL);
            odd[j] = load(b + (p + 1) * b_row + j * VL);
        }
        for (int i = 0; i < CHAIN_MR; i++)
            for (int j = 0; j < CHAIN_NRV; j++)
                c[i][j] = fma_scalar(a[i * a_row + p + 1], odd[j], c[i][j]);
        for (int i = 0; i < CHAIN_MR; i++)
            for (int j = 0; j < CHAIN_NRV; j++)
                c[i][j] = fma_scalar(a[i * a_row + p], even[j], c[i][j]);
    }
    for (int i = 0; i < CHAIN_MR; i++)
        for (int j = 0; j < CHAIN_NRV; j++)
            store(acc + i * acc_row + j * VL, c[i][j]);
}

#endif

/* e = the chain of rows 0, 2, .. 30 of a block from +0: of a[i * a_row] and b. */
static inline __attribute__((always_inline)) void every_second(const float *a, int64_t a_row, const float *b,
                                                               int64_t b_row, vec e[CHAIN_MR][CHAIN_NRV]) {
    vec sum[CHAIN_MR][CHAIN_NRV] = {{{0}}};
    for (int p = 0; p < AMX_STEP; p += 2) {
        vec row[CHAIN_NRV];
        for (int j = 0; j < CHAIN_NRV; j++)
            row[j] = load(b + p * b_row + j * VL);
        for (int i = 0; i < CHAIN_MR; i++)
            for (int j = 0; j < CHAIN_NRV; j++)
                sum[i][j] = fma_scalar(a[i * a_row + p], row[j], sum[i][j]);
    }
    for (int i = 0; i < CHAIN_MR; i++)
        for (int j = 0; j < CHAIN_NRV; j++)
            e[i][j] = sum[i][j];
}

/* Blocks of 32 rows: the even ones and the odd ones are chains of their own, and acc + (even + odd); runs
 * under FTZ and DAZ. */
static __attribute__((noinline)) void micro_amx(const struct chain_args *t, const float *a, const float *b,
                                                float *acc) {
    const int64_t k = t->k, a_row = t->a_row, b_row = t->b_row, acc_row = t->acc_row;
    for (int64_t p = 0; p < k; p += AMX_STEP, a += AMX_STEP, b += AMX_STEP * b_row) {
        vec even[CHAIN_MR][CHAIN_NRV], odd[CHAIN_MR][CHAIN_NRV];
        every_second(a, a_row, b, b_row, even);
        every_second(a + 1, a_row, b + b_row, b_row, odd);
        for (int i = 0; i < CHAIN_MR; i++)
            for (int j = 0; j < CHAIN_NRV; j++) {
                float *c = acc + i * acc_row + j * VL;
                store(c, load(c) + (even[i][j] + odd[i][j]));
            }
    }
}

static inline unsigned flush_begin(void) {
    unsigned csr = _mm_getcsr();
    _mm_setcsr(csr | 0x8040u); /* FTZ, DAZ */
    __asm__ volatile("" ::: "memory");
    return csr;
}
static inline void flush_end(unsigned csr) {
    __asm__ volatile("" ::: "memory");
    _mm_setcsr(csr);
}

#else

static void micro_fp32(const struct chain_args *t, const float *a, const float *b, float *acc) {
    const int64_t k = t->k, a_row = t->a_row, b_row = t->b_row, acc_row = t->acc_row;
    for (int i = 0; i < CHAIN_MR; i++)
        for (int64_t p = 0; p < k; p++)
            for (int j = 0; j < CHAIN_NR; j++)
                acc[i * acc_row + j] = fmaf(a[i * a_row + p], b[p * b_row + j], acc[i * acc_row + j]);
}

static inline float daz(float x) {
    uint32_t u = sy_f32_bits(x);
    return (u & 0x7f800000u) == 0 ? sy_f32_from_bits(u & 0x80000000u) : x;
}

/* fma with subnormal inputs read as 0 and a flush after rounding. Only a result of exactly 2^-126 is in
 * doubt: it is kept when the sum rounded to 24 bits with unbounded exponent reaches it, which the same sum
 * scaled by 2^60 tells. */
static float fma_flush(float a, float b, float c) {
    a = daz(a);
    b = daz(b);
    c = daz(c);
    float r = fmaf(a, b, c);
    uint32_t u = sy_f32_bits(r), magnitude = u & 0x7fffffffu;
    if (magnitude > 0x00800000u || magnitude == 0)
        return r;
    if (magnitude == 0x00800000u) {
        uint32_t ua = sy_f32_bits(a) & 0x7fffffffu, ub = sy_f32_bits(b) & 0x7fffffffu;
        float scaled = ua < ub ? fmaf(a * 0x1p60f, b, c * 0x1p60f) : fmaf(a, b * 0x1p60f, c * 0x1p60f);
        if ((sy_f32_bits(scaled) & 0x7fffffffu) >= sy_f32_bits(0x1p-66f))
            return r;
    }
    return sy_f32_from_bits(u & 0x80000000u);
}

/* The same for a row of outputs: what is in doubt, hardly ever anything, one by one. */
static inline void fma_flush_row(float a, const float *restrict b, float *restrict c) {
    const uint32_t least = 0x00800000u;
    float r[CHAIN_NR];
    uint32_t doubt = 0;
    for (int j = 0; j < CHAIN_NR; j++) {
        float sum = fmaf(daz(a), daz(b[j]), daz(c[j]));
        uint32_t u = sy_f32_bits(sum), magnitude = u & 0x7fffffffu;
        doubt |= magnitude == least;
        r[j] = sy_f32_from_bits(magnitude < least ? u & 0x80000000u : u);
    }
    for (int j = 0; doubt && j < CHAIN_NR; j++)
        r[j] = fma_flush(a, b[j], c[j]);
    memcpy(c, r, sizeof r);
}

static void micro_x86(const struct chain_args *t, const float *a, const float *b, float *acc) {
    const int64_t k = t->k, a_row = t->a_row, b_row = t->b_row, acc_row = t->acc_row;
    for (int i = 0; i < CHAIN_MR; i++)
        for (int64_t p = 0; p < k; p += 2) {
            fma_flush_row(a[i * a_row + p + 1], b + (p + 1) * b_row, acc + i * acc_row);
            fma_flush_row(a[i * a_row + p], b + p * b_row, acc + i * acc_row);
        }
}

static void micro_amx(const struct chain_args *t, const float *a, const float *b, float *acc) {
    const int64_t k = t->k, a_row = t->a_row, b_row = t->b_row, acc_row = t->acc_row;
    for (int i = 0; i < CHAIN_MR; i++)
        for (int64_t p = 0; p < k; p += AMX_STEP)
            for (int j = 0; j < CHAIN_NR; j++) {
                float *c = acc + i * acc_row + j, even = 0.0f, odd = 0.0f;
                for (int64_t q = p; q < p + AMX_STEP; q += 2) {
                    even = fma_flush(a[i * a_row + q], b[q * b_row + j], even);
                    odd = fma_flush(a[i * a_row + q + 1], b[(q + 1) * b_row + j], odd);
                }
                *c = fma_flush(1.0f, *c, fma_flush(1.0f, even, odd));
            }
}

static inline unsigned flush_begin(void) { return 0; }
static inline void flush_end(unsigned csr) { (void)csr; }

#endif

/* --- a tile --------------------------------------------------------------------------------------------- */

static inline void chain_tile(enum sy_numeric_class cls, const struct chain_args *t) {
#if defined(__AMX_BF16__)
    if (cls == SY_NUMERIC_AMX) {
        chain_by_tiles(t);
        return;
    }
#endif
    unsigned csr = sy_class_flushes(cls) ? flush_begin() : 0;
    for (int64_t j = 0; j < t->n; j += CHAIN_NR)
        for (int64_t i = 0; i < t->m; i += CHAIN_MR) {
            const float *a = t->a + i * t->a_row, *b = t->b + j;
            float *acc = t->acc + i * t->acc_row + j;
            if (cls == SY_NUMERIC_X86)
                micro_x86(t, a, b, acc);
            else if (cls == SY_NUMERIC_AMX)
                micro_amx(t, a, b, acc);
            else if (cls == SY_NUMERIC_SM90)
                micro_sm90(t, a, b, acc);
            else
                micro_fp32(t, a, b, acc);
        }
    if (sy_class_flushes(cls))
        flush_end(csr);
}

static inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

#endif
