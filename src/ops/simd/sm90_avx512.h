/* A step of class sm90 (NUMERICS 1) for 32 outputs of a row, in fp32 and int32, where nothing is special:
 *
 *     M      the largest exponent of a term, in 16-bit lanes
 *     term   int32(a b 2^(25 - M)), toward zero: a b has 16 bits, 2^(25 - M) only moves them
 *     acc    fp32(sum of the integers), toward zero, times 2^(M - 25)
 *
 * It is not done, and the caller takes the definition, where an M is not within LEAST .. MOST, where a term
 * or acc is Inf or NaN, or where a sum needs more than 32 bits. With M >= -100 a product below 2^-126, which
 * fp32 rounds, is at most half of the last place: 0 either way.
 */
#ifndef SY_OPS_SIMD_SM90_AVX512_H
#define SY_OPS_SIMD_SM90_AVX512_H

#include <immintrin.h>

/* Exponents: of a zero so low that no sum with another is a term, of Inf and NaN so high that none is
 * within. */
enum { SM90_LEAST_FAST = -100, SM90_MOST_FAST = 125, SM90_ZERO = -8192, SM90_SPECIAL = 16000 };

static inline __m512i sm90_exponents(__m512 x) {
    __m512i u = _mm512_and_si512((__m512i)x, _mm512_set1_epi32(0x7fffffff)), e = _mm512_srli_epi32(u, 23);
    __m512i r = _mm512_sub_epi32(e, _mm512_set1_epi32(127));
    r = _mm512_mask_mov_epi32(r, _mm512_testn_epi32_mask(e, e), _mm512_set1_epi32(-126));
    r = _mm512_mask_mov_epi32(r, _mm512_testn_epi32_mask(u, u), _mm512_set1_epi32(SM90_ZERO));
    return _mm512_mask_mov_epi32(r, _mm512_cmpeq_epi32_mask(e, _mm512_set1_epi32(255)),
                                 _mm512_set1_epi32(SM90_SPECIAL));
}

/* Of 32 values, in 16 bits each. */
static inline __m512i sm90_exponents_of(const float *x) {
    __m256i lo = _mm512_cvtepi32_epi16(sm90_exponents(_mm512_loadu_ps(x)));
    __m256i hi = _mm512_cvtepi32_epi16(sm90_exponents(_mm512_loadu_ps(x + 16)));
    return _mm512_inserti64x4(_mm512_castsi256_si512(lo), hi, 1);
}

/* Each in both halves of its word. */
static inline __m512i sm90_doubled(__m512i e) {
    return _mm512_or_si512(_mm512_and_si512(e, _mm512_set1_epi32(0xffff)), _mm512_slli_epi32(e, 16));
}

static inline __m512 sm90_power(__m512i e) { /* 2^e */
    return (__m512)_mm512_slli_epi32(_mm512_add_epi32(e, _mm512_set1_epi32(127)), 23);
}

/* M of 32 outputs; ea: of a[p] in both halves of a word; eb: of row p of b. */
static inline __m512i sm90_top(const int32_t *ea, const __m512i *eb, const float *acc) {
    __m512i top = sm90_exponents_of(acc), other = _mm512_set1_epi16(2 * SM90_ZERO);
    for (int p = 0; p < 16; p += 2) {
        top = _mm512_max_epi16(top, _mm512_add_epi16(_mm512_set1_epi32(ea[p]), eb[p]));
        other = _mm512_max_epi16(other, _mm512_add_epi16(_mm512_set1_epi32(ea[p + 1]), eb[p + 1]));
    }
    top = _mm512_max_epi16(top, other);
    /* no term at all: any M will do */
    return _mm512_maskz_mov_epi16(_mm512_cmpgt_epi16_mask(top, _mm512_set1_epi16(SM90_ZERO / 2)), top);
}

static inline int sm90_within(__m512i top) {
    __m512i from_least = _mm512_sub_epi16(top, _mm512_set1_epi16(SM90_LEAST_FAST));
    return !_mm512_cmpgt_epu16_mask(from_least, _mm512_set1_epi16(SM90_MOST_FAST - SM90_LEAST_FAST));
}

static inline __m512i sm90_term(__m512 p, __m512 scale) {
    return _mm512_cvttps_epi32(_mm512_mul_ps(p, scale));
}

/* acc of 32 outputs after the step of a[16] and b[16], rows b_row apart; 0 where it is not done. */
static inline int sm90_fast_step(const float *a, const int32_t *ea, const float *b, int64_t b_row,
                                 const __m512i *eb, float *acc) {
    const __m512i top = sm90_top(ea, eb, acc), places = _mm512_set1_epi32(25);
    __m512 scale[2], back[2];
    __m512i even[2], odd[2];
    if (!sm90_within(top))
        return 0;
    for (int h = 0; h < 2; h++) {
        __m512i m =
            _mm512_cvtepi16_epi32(h ? _mm512_extracti64x4_epi64(top, 1) : _mm512_castsi512_si256(top));
        scale[h] = sm90_power(_mm512_sub_epi32(places, m));
        back[h] = sm90_power(_mm512_sub_epi32(m, places));
        even[h] = sm90_term(_mm512_loadu_ps(acc + 16 * h), scale[h]);
        odd[h] = _mm512_setzero_si512();
    }
    for (int p = 0; p < 16; p += 2)
        for (int h = 0; h < 2; h++) {
            __m512 x = _mm512_mul_ps(_mm512_set1_ps(a[p]), _mm512_loadu_ps(b + p * b_row + 16 * h));
            __m512 y = _mm512_mul_ps(_mm512_set1_ps(a[p + 1]), _mm512_loadu_ps(b + (p + 1) * b_row + 16 * h));
            even[h] = _mm512_add_epi32(even[h], sm90_term(x, scale[h]));
            odd[h] = _mm512_add_epi32(odd[h], sm90_term(y, scale[h]));
        }
    __m512i sum[2] = {_mm512_add_epi32(even[0], odd[0]), _mm512_add_epi32(even[1], odd[1])};
    __mmask16 over = 0;
    for (int h = 0; h < 2; h++)
        over |= _mm512_movepi32_mask(
            _mm512_and_si512(_mm512_xor_si512(even[h], sum[h]), _mm512_xor_si512(odd[h], sum[h])));
    if (over)
        return 0;
    for (int h = 0; h < 2; h++)
        _mm512_storeu_ps(
            acc + 16 * h,
            _mm512_mul_ps(_mm512_cvt_roundepi32_ps(sum[h], _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC), back[h]));
    return 1;
}

#endif
