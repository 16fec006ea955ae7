/* Orders in which an instruction may sum pairs of bf16 products into fp32, 16 columns at a time, and
 * hypotheses: an order, and how it rounds. For amx_chain.c alone. */
#ifndef SY_BENCH_AMX_ORDERS_H
#define SY_BENCH_AMX_ORDERS_H

#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>

enum { ROWS = 16, COLS = 16, PAIRS = 16, OUTPUTS = ROWS * COLS };

struct operands { /* a word has elements 2p (low half) and 2p + 1 of k */
    uint32_t a[ROWS][PAIRS], b[PAIRS][COLS];
    float c[ROWS][COLS];
    int pairs;
};
typedef float outputs[ROWS][COLS];

/* Of row m and pair p, all columns: even and odd products' factors. */
struct factors {
    __m512 ae, ao, be, bo;
};
static inline struct factors factors(const struct operands *o, int m, int p) {
    const __m512i high = _mm512_set1_epi32((int)0xffff0000u);
    __m512i a = _mm512_set1_epi32((int)o->a[m][p]), b = _mm512_loadu_si512(o->b[p]);
    return (struct factors){(__m512)_mm512_slli_epi32(a, 16), (__m512)_mm512_and_si512(a, high),
                            (__m512)_mm512_slli_epi32(b, 16), (__m512)_mm512_and_si512(b, high)};
}

static inline __m512 step(int fused, __m512 a, __m512 b, __m512 c) {
    return fused ? _mm512_fmadd_ps(a, b, c) : _mm512_add_ps(_mm512_mul_ps(a, b), c);
}

/* A row's outputs; every order is a loop over pairs with one or two sums. */
#define ORDER(name, even_from, odd_from, body, result)                         \
    static inline __m512 name(int fused, const struct operands *o, int m) {    \
        const __m512 zero = _mm512_setzero_ps(), c = _mm512_loadu_ps(o->c[m]); \
        __m512 e = even_from, d = odd_from;                                    \
        (void)zero, (void)d;                                                   \
        for (int p = 0; p < o->pairs; p++) {                                   \
            struct factors f = factors(o, m, p);                               \
            body                                                               \
        }                                                                      \
        return result;                                                         \
    }
#define EVEN(sum) sum = step(fused, f.ae, f.be, sum);
#define ODD(sum) sum = step(fused, f.ao, f.bo, sum);
#define ADD(x, y) _mm512_add_ps(x, y)
ORDER(two_sums, zero, zero, EVEN(e) ODD(d), ADD(c, ADD(e, d)))
ORDER(two_sums_even_joined_first, zero, zero, EVEN(e) ODD(d), ADD(ADD(c, e), d))
ORDER(two_sums_odd_joined_first, zero, zero, EVEN(e) ODD(d), ADD(ADD(c, d), e))
ORDER(two_sums_even_from_c, c, zero, EVEN(e) ODD(d), ADD(e, d))
ORDER(two_sums_odd_from_c, zero, c, EVEN(e) ODD(d), ADD(e, d))
ORDER(chain_from_c_odd_first, c, zero, ODD(e) EVEN(e), e)
ORDER(chain_from_c_even_first, c, zero, EVEN(e) ODD(e), e)
ORDER(chain_from_zero_odd_first, zero, zero, ODD(e) EVEN(e), ADD(c, e))
ORDER(chain_from_zero_even_first, zero, zero, EVEN(e) ODD(e), ADD(c, e))
ORDER(pairs_odd_first, c, zero, d = zero; ODD(d) EVEN(d) e = ADD(e, d);, e)
ORDER(pairs_even_first, c, zero, d = zero; EVEN(d) ODD(d) e = ADD(e, d);, e)
ORDER(pairs_from_zero_odd_first, zero, zero, d = zero; ODD(d) EVEN(d) e = ADD(e, d);, ADD(c, e))
ORDER(pairs_from_zero_even_first, zero, zero, d = zero; EVEN(d) ODD(d) e = ADD(e, d);, ADD(c, e))

static inline __m512 evens_then_odds(int fused, const struct operands *o, int m) {
    __m512 sum = _mm512_loadu_ps(o->c[m]);
    for (int p = 0; p < 2 * o->pairs; p++) {
        struct factors f = factors(o, m, p % o->pairs);
        sum = p < o->pairs ? step(fused, f.ae, f.be, sum) : step(fused, f.ao, f.bo, sum);
    }
    return sum;
}

/* Exact sums of fp64 numbers by their error; what is left over makes the last bit odd, so that the one
 * rounding that follows is right. Rounded to nearest whatever MXCSR says. */
#define NEAREST (_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
static inline __m512d exact_sum(__m512d a, __m512d b, __m512d *error) {
    __m512d s = _mm512_add_round_pd(a, b, NEAREST), bb = _mm512_sub_round_pd(s, a, NEAREST);
    *error = _mm512_add_round_pd(_mm512_sub_round_pd(a, _mm512_sub_round_pd(s, bb, NEAREST), NEAREST),
                                 _mm512_sub_round_pd(b, bb, NEAREST), NEAREST);
    return s;
}
static inline __m512d made_odd(__m512d s, __m512d error) {
    __m512i bits = (__m512i)s, one = _mm512_set1_epi64(1);
    __mmask8 inexact = _mm512_cmp_pd_mask(error, _mm512_setzero_pd(), _CMP_NEQ_OQ) &
                       (__mmask8)~_mm512_test_epi64_mask(bits, one);
    __mmask8 down = _mm512_movepi64_mask(_mm512_xor_epi64((__m512i)error, bits)); /* toward zero */
    bits = _mm512_mask_add_epi64(bits, inexact & (__mmask8)~down, bits, one);
    bits = _mm512_mask_sub_epi64(bits, inexact & down, bits, one);
    return (__m512d)bits;
}
static inline __m512d half(__m512 v, int hi) {
    return _mm512_cvtps_pd(hi ? _mm512_extractf32x8_ps(v, 1) : _mm512_castps512_ps256(v));
}
/* Both products of a pair, and c if it is to be one sum with them, rounded once. */
static inline __m512 exact_pair(const struct factors *f, __m512 c) {
    __m256 r[2];
    for (int h = 0; h < 2; h++) {
        __m512d e = _mm512_mul_pd(half(f->ae, h), half(f->be, h)), low, rest, lost;
        __m512d d = _mm512_mul_pd(half(f->ao, h), half(f->bo, h)), pair = exact_sum(e, d, &low);
        __m512d sum = exact_sum(half(c, h), pair, &rest), small = exact_sum(low, rest, &lost), err;
        sum = exact_sum(sum, made_odd(small, lost), &err);
        r[h] = _mm512_cvtpd_ps(made_odd(sum, err));
    }
    return _mm512_insertf32x8(_mm512_castps256_ps512(r[0]), r[1], 1);
}
ORDER(exact_pairs, c, zero, (void)fused; d = exact_pair(&f, zero); e = ADD(e, d);, e)
ORDER(exact_pairs_and_c, c, zero, (void)fused; e = exact_pair(&f, e);, (e))
ORDER(exact_pairs_from_zero, zero, zero, (void)fused; d = exact_pair(&f, zero); e = ADD(e, d);, ADD(c, e))

#define ORDERS(X)                                                                               \
    X(two_sums, "even and odd products in sums of their own from 0; c + (even + odd)")          \
    X(two_sums_even_joined_first, "the same; (c + even) + odd")                                 \
    X(two_sums_odd_joined_first, "the same; (c + odd) + even")                                  \
    X(two_sums_even_from_c, "even sum from c, odd sum from 0; even + odd")                      \
    X(two_sums_odd_from_c, "odd sum from c, even sum from 0; even + odd")                       \
    X(chain_from_c_odd_first, "one chain from c, the odd of a pair first (VDPBF16PS)")          \
    X(chain_from_c_even_first, "one chain from c, the even of a pair first")                    \
    X(chain_from_zero_odd_first, "one chain from 0, the odd of a pair first; c + chain")        \
    X(chain_from_zero_even_first, "one chain from 0, the even of a pair first; c + chain")      \
    X(pairs_odd_first, "c + each pair's sum in turn, its odd product first")                    \
    X(pairs_even_first, "c + each pair's sum in turn, its even product first")                  \
    X(pairs_from_zero_odd_first, "pairs' sums added from 0, the odd product first; c + that")   \
    X(pairs_from_zero_even_first, "pairs' sums added from 0, the even product first; c + that") \
    X(evens_then_odds, "one chain from c, all even products, then all odd ones")                \
    X(exact_pairs, "c + each pair's exact sum, rounded, in turn")                               \
    X(exact_pairs_and_c, "c and each pair exactly, rounded once a pair")                        \
    X(exact_pairs_from_zero, "pairs' exact sums, rounded, added from 0; c + that")

typedef void computed(const struct operands *o, outputs r);
#define X(name, text)                                               \
    static void name##_fused(const struct operands *o, outputs r) { \
        for (int m = 0; m < ROWS; m++)                              \
            _mm512_storeu_ps(r[m], name(1, o, m));                  \
    }                                                               \
    static void name##_apart(const struct operands *o, outputs r) { \
        for (int m = 0; m < ROWS; m++)                              \
            _mm512_storeu_ps(r[m], name(0, o, m));                  \
    }
ORDERS(X)
#undef X
static const struct {
    const char *name;
    computed *by[2];
} orders[] = {
#define X(name, text) {text, {name##_apart, name##_fused}},
    ORDERS(X)
#undef X
};
enum { N_ORDERS = sizeof orders / sizeof *orders };

/* A hypothesis: an order, fused, and what MXCSR has to say. No compiler moves a call by pointer across it. */
enum { DAZ = 0x0040, FTZ = 0x8000, TOWARD_ZERO = 0x6000, MODES = 8, HYPOTHESES = N_ORDERS * 2 * MODES };
static unsigned mode_bits(int mode) {
    return (mode & 1 ? 0 : DAZ) | (mode & 2 ? 0 : FTZ) | (mode & 4 ? TOWARD_ZERO : 0);
}
static void compute(int h, const struct operands *o, outputs r) {
    unsigned csr = _mm_getcsr();
    _mm_setcsr((csr & ~0xe040u) | mode_bits(h % MODES));
    __asm__ volatile("" ::: "memory");
    orders[h / MODES / 2].by[h / MODES % 2](o, r);
    __asm__ volatile("" ::: "memory");
    _mm_setcsr(csr);
}
static void print_name(int h) {
    int mode = h % MODES, fused = h / MODES % 2;
    printf("%s; %s, subnormal inputs %s, results %s, %s", orders[h / MODES / 2].name,
           fused ? "fused" : "products rounded", mode & 1 ? "kept" : "zero", mode & 2 ? "kept" : "flushed",
           mode & 4 ? "toward zero" : "to nearest even");
}

#endif
