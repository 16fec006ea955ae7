/* What every file of the reference shares: the name of its tier, rows widened to fp32, one rounding to the
 * stored type, and the row sum V64.
 *
 * The sources of ops/ref are compiled once for each CPU tier (-DSY_TIER=ref, avx2, …, amx) with
 * other flags and the same bits: every innermost loop runs over output columns, so that the compiler
 * vectorises across outputs and the order of the sums in each stays.
 */
#ifndef SY_OPS_REF_TIER_H
#define SY_OPS_REF_TIER_H

#include <assert.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "base/fmath.h"
#include "base/threads.h"
#include "ops/ops.h"

#ifndef SY_TIER
#define SY_TIER ref
#endif
#define SY_GLUE2(a, b) a##b
#define SY_GLUE(a, b) SY_GLUE2(a, b)
/* SY_FN(linear) is sy_linear_avx2 in the tier avx2. */
#define SY_FN(name) SY_GLUE(SY_GLUE(sy_, name), SY_GLUE(_, SY_TIER))

/* Work this small is done by the calling thread: waking the others costs more. Elements touched, or FLOPs /
 * 32. */
enum { SMALL_WORK = 16384 };
static inline struct sy_pool *pool_for(const struct sy_exec *x, int64_t work) {
    return work < SMALL_WORK ? NULL : x->pool;
}

/* bf16 of x, round to nearest even. flush (classes x86, amx): a subnormal x becomes a zero of its sign. NaN
 * stays NaN. */
static inline uint16_t bf16_of(float x, int flush) {
    uint32_t u = sy_f32_bits(x), r = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    r = (u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : r;
    r = flush && (u & 0x7f800000u) == 0 ? (u >> 16) & 0x8000u : r;
    return (uint16_t)r;
}

static inline float f32_of(uint16_t b) { return sy_f32_from_bits((uint32_t)b << 16); }

/* Of no elements, neither pointer need be any. */
static inline void copy_f32(int64_t n, const void *restrict src, void *restrict dst) {
    if (n > 0)
        memcpy(dst, src, (size_t)n * 4);
}

/* n contiguous elements, widened exactly. */
static inline void widen(enum sy_dtype t, int64_t n, const void *restrict src, float *restrict dst) {
    if (t == SY_F32) {
        copy_f32(n, src, dst);
    } else {
        const uint16_t *s = src;
        for (int64_t i = 0; i < n; i++)
            dst[i] = f32_of(s[i]);
    }
}

#if defined(__AVX512BF16__)
/* The tier's instruction rounds as classes that flush do: to nearest even, a subnormal to a zero. */
static inline void narrow_flushed(int64_t n, const float *restrict src, uint16_t *restrict dst) {
    int64_t i = 0;
    for (; i + 32 <= n; i += 32)
        _mm512_storeu_si512(
            dst + i, (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(src + i + 16), _mm512_loadu_ps(src + i)));
    for (; i < n; i += 16) {
        __mmask16 there = n - i < 16 ? (__mmask16)((1 << (n - i)) - 1) : 0xffff;
        _mm256_mask_storeu_epi16(dst + i, there,
                                 (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(there, src + i)));
    }
}
#else
static inline void narrow_flushed(int64_t n, const float *restrict src, uint16_t *restrict dst) {
    for (int64_t i = 0; i < n; i++)
        dst[i] = bf16_of(src[i], 1);
}
#endif

/* n contiguous fp32 values, rounded once to t. */
static inline void narrow(const struct sy_exec *x, enum sy_dtype t, int64_t n, const float *restrict src,
                          void *restrict dst) {
    if (t == SY_F32) {
        copy_f32(n, src, dst);
    } else if (sy_class_flushes(x->cls)) {
        narrow_flushed(n, src, dst);
    } else {
        uint16_t *d = dst;
        for (int64_t i = 0; i < n; i++)
            d[i] = bf16_of(src[i], 0);
    }
}

/* BF(x) as an fp32 value. */
static inline float bf(const struct sy_exec *x, float v) {
    return x->dtype == SY_F32 ? v : f32_of(bf16_of(v, sy_class_flushes(x->cls)));
}

/* v = BF(v), n contiguous values. */
static inline void round_all(const struct sy_exec *x, int64_t n, float *v) {
    int64_t i = 0;
#if defined(__AVX512BF16__)
    for (; sy_class_flushes(x->cls) && i + 16 <= n; i += 16) {
        __m256i r = (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(v + i));
        _mm512_storeu_si512(v + i, _mm512_slli_epi32(_mm512_cvtepu16_epi32(r), 16));
    }
#endif
    for (; i < n; i++)
        v[i] = bf(x, v[i]);
}

/* The halves of 64 lanes are added: 32, 16, 8, 4, 2, 1. */
#if defined(__AVX512F__)
static inline float halved(__m512 a, __m512 b, __m512 c, __m512 d) {
    __m512 v = _mm512_add_ps(_mm512_add_ps(a, c), _mm512_add_ps(b, d));
    __m256 w = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(w), _mm256_extractf128_ps(w, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
/* V64: 64 lanes from +0, lane[i mod 64] += x[i] ascending, then halved; of products: fma(a, b, lane). In
 * registers: lanes in memory, cleared by short stores, are loaded only when all stores before are done. */
static inline __mmask16 lanes_left(int64_t n) {
    return n <= 0 ? 0 : n < 16 ? (__mmask16)((1u << n) - 1) : 0xffff;
}
static inline float v64(int64_t n, const float *x) {
    __m512 s[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
    int64_t i = 0;
    for (; i + 64 <= n; i += 64)
        for (int j = 0; j < 4; j++)
            s[j] = _mm512_add_ps(s[j], _mm512_loadu_ps(x + i + 16 * j));
    for (int j = 0; j < 4; j++) {
        __mmask16 k = lanes_left(n - i - 16 * j);
        s[j] = _mm512_mask_add_ps(s[j], k, s[j], _mm512_maskz_loadu_ps(k, x + i + 16 * j));
    }
    return halved(s[0], s[1], s[2], s[3]);
}
static inline float v64_dot(int64_t n, const float *a, const float *b) {
    __m512 s[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
    int64_t i = 0;
    for (; i + 64 <= n; i += 64)
        for (int j = 0; j < 4; j++)
            s[j] =
                _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 16 * j), _mm512_loadu_ps(b + i + 16 * j), s[j]);
    for (int j = 0; j < 4; j++) {
        __mmask16 k = lanes_left(n - i - 16 * j);
        s[j] = _mm512_mask3_fmadd_ps(_mm512_maskz_loadu_ps(k, a + i + 16 * j),
                                     _mm512_maskz_loadu_ps(k, b + i + 16 * j), s[j], k);
    }
    return halved(s[0], s[1], s[2], s[3]);
}
#else
static inline float fold64(float *lane) {
    for (int h = 32; h >= 1; h /= 2)
        for (int j = 0; j < h; j++)
            lane[j] += lane[j + h];
    return lane[0];
}

/* V64: 64 lanes from +0, lane[i mod 64] += x[i] ascending, then halved. */
static inline float v64(int64_t n, const float *x) {
    float lane[64] = {0};
    int64_t i = 0;
    for (; i + 64 <= n; i += 64)
        for (int j = 0; j < 64; j++)
            lane[j] += x[i + j];
    for (int j = 0; i + j < n; j++)
        lane[j] += x[i + j];
    return fold64(lane);
}

/* V64 of products: fma(a, b, lane). */
static inline float v64_dot(int64_t n, const float *a, const float *b) {
    float lane[64] = {0};
    int64_t i = 0;
    for (; i + 64 <= n; i += 64)
        for (int j = 0; j < 64; j++)
            lane[j] = fmaf(a[i + j], b[i + j], lane[j]);
    for (int j = 0; i + j < n; j++)
        lane[j] = fmaf(a[i + j], b[i + j], lane[j]);
    return fold64(lane);
}

#endif

#endif
