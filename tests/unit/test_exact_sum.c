/* The exact sum against a sum of single bits: 2400 binary places from 2^-1074 on, added and rounded by hand.
 *
 * Any order and any split into joined parts give the same bits, which a plain fp64 sum does not (negative
 * control); ties go to even, also when what breaks them lies 2000 places below; subnormals, overflow, and
 * numbers that are not finite.
 */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/exact_sum.h"

enum { PLACES = 2400, MOST = 600 };

static uint64_t state = 11;

static uint64_t random_bits(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    uint64_t z = (state ^ state >> 29) * 0xff51afd7ed558ccdu;
    return z ^ z >> 32;
}
static int64_t below(int64_t n) { return (int64_t)(random_bits() >> 33) % n; }

static uint64_t bits_of(double x) {
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}
static double from_bits(uint64_t u) {
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* --- the definition: place[p] counts 2^(p - 1074) ------------------------------------------------------- */

struct places {
    int8_t bit[PLACES];
};

static void places_add(struct places *s, double x) {
    int e;
    int64_t m = (int64_t)ldexp(frexp(fabs(x), &e), 53); /* |x| = m 2^(e - 53) */
    for (int k = 0; x != 0.0 && k < 53; k++)
        if (m >> k & 1) {
            int p = k + e - 53 + 1074, by = x < 0 ? -1 : 1;
            assert_true(p >= 0);
            for (; s->bit[p] + by < 0 || s->bit[p] + by > 1; p++) /* carry or borrow */
                s->bit[p] = (int8_t)(by < 0);
            s->bit[p] = (int8_t)(s->bit[p] + by);
        }
}

static double places_round(const struct places *s) {
    int top = PLACES - 1, low, any_below = 0;
    while (top >= 0 && !s->bit[top])
        top--;
    low = top > 52 ? top - 52 : 0;
    int64_t m = 0;
    for (int p = top; p >= low; p--)
        m = 2 * m + s->bit[p];
    for (int p = low - 2; p >= 0; p--)
        any_below |= s->bit[p];
    if (low > 0 && s->bit[low - 1] && (any_below || (m & 1)))
        m++;
    return ldexp((double)m, low - 1074);
}

static double defined(const double *x, int n) {
    struct places s = {{0}};
    for (int i = 0; i < n; i++)
        if (x[i] > 0) /* so that the places never go below zero on the way */
            places_add(&s, x[i]);
    for (int i = 0; i < n; i++)
        if (x[i] < 0)
            places_add(&s, x[i]);
    return places_round(&s);
}

static double exact(const double *x, int n) {
    struct sy_exact_sum s = {{0}, 0};
    for (int i = 0; i < n; i++)
        sy_exact_add(&s, x[i]);
    return sy_exact_round(&s);
}

static double plain(const double *x, int n) {
    double s = 0;
    for (int i = 0; i < n; i++)
        s += x[i];
    return s;
}

static void shuffle(double *x, int n) {
    for (int i = n - 1; i > 0; i--) {
        int j = (int)below(i + 1);
        double t = x[i];
        x[i] = x[j];
        x[j] = t;
    }
}

static void check(const double *x, int n, double want) {
    double got = exact(x, n);
    if (bits_of(got) != bits_of(want))
        fail_msg("%d numbers: %a, must be %a", n, got, want);
}

/* A finite number with exponent field lo..hi. */
static double number(int lo, int hi) {
    return from_bits((random_bits() & 0xfffffffffffffu) | (uint64_t)(lo + below(hi - lo + 1)) << 52);
}

/* --- tests ---------------------------------------------------------------------------------------------- */

static void test_definition_of_the_test(void **unused) { /* the places themselves, where __int128 is enough */
    (void)unused;
    for (int trial = 0; trial < 200; trial++) {
        unsigned __int128 sum = 0;
        double x[40];
        for (int i = 0; i < 40; i++) {
            uint64_t m = random_bits() >> 11, shift = (uint64_t)below(60);
            x[i] = ldexp((double)m, (int)shift);
            sum += (unsigned __int128)m << shift;
        }
        double want = (double)sum; /* one rounding to nearest even */
        assert_true(defined(x, 40) == want);
        check(x, 40, want);
    }
}

static void test_random(void **unused) {
    (void)unused;
    static const int range[][2] = {{0, 2046},    {0, 3},      {0, 60}, {1000, 1064},
                                   {2040, 2046}, {900, 1100}, {0, 0}};
    double x[MOST];
    for (size_t r = 0; r < sizeof range / sizeof *range; r++)
        for (int trial = 0; trial < 25; trial++) {
            int n = 1 + (int)below(200);
            for (int i = 0; i < n; i++)
                x[i] = number(range[r][0], range[r][1]);
            check(x, n, defined(x, n));
        }
}

/* Positive and negative ones that nearly cancel: what stays lies far below the largest. */
static void test_cancellation(void **unused) {
    (void)unused;
    double x[MOST];
    for (int trial = 0; trial < 60; trial++) {
        int n = 0, pairs = 1 + (int)below(120), rest = 1 + (int)below(60);
        for (int i = 0; i < pairs; i++) {
            x[n] = number(600, 2000);
            x[n + 1] = -x[n];
            n += 2;
        }
        for (int i = 0; i < rest; i++)
            x[n++] = number(0, 700);
        shuffle(x, n);
        check(x, n, defined(x, n));
    }
    check((double[]){0x1p1023, 0x1p-1074, -0x1p1023}, 3, 0x1p-1074);
    check((double[]){-0x1p1023, -0x1p1023, 0x1p1023, 3.0, 0x1p1023}, 5, 3.0);
    check((double[]){1.0, -0x1p-1074}, 2, 1.0);
    check((double[]){1.0, -0x1p-54}, 2, 1.0); /* a tie of the smaller spacing below 1: to even */
    check((double[]){1.0, -0x1p-54, -0x1p-1074}, 3, 0x1.fffffffffffffp-1);
    check((double[]){5.0, -5.0}, 2, 0.0);
    check((double[]){0.0, -0.0}, 2, 0.0);
    check(NULL, 0, 0.0);
}

static void test_order(void **unused) {
    (void)unused;
    double x[MOST];
    int differs = 0;
    for (int i = 0; i < MOST; i++)
        x[i] = number(1023 - 60, 1023 + 60);
    double want = exact(x, MOST), first = plain(x, MOST);
    assert_true(want == defined(x, MOST));
    for (int trial = 0; trial < 20; trial++) {
        shuffle(x, MOST);
        check(x, MOST, want);
        differs += plain(x, MOST) != first;
        struct sy_exact_sum part[7] = {{{0}, 0}};
        for (int i = 0; i < MOST; i++)
            sy_exact_add(&part[below(7)], x[i]);
        for (int p = 6; p > 0; p--)
            sy_exact_join(&part[p - 1], &part[p]);
        assert_true(bits_of(sy_exact_round(&part[0])) == bits_of(want));
    }
    assert_true(differs > 0); /* negative control: order matters to a plain sum of these numbers */
}

static void test_ties(void **unused) {
    (void)unused;
    const double two53 = 0x1p53;
    check((double[]){two53, 1.0}, 2, two53);
    check((double[]){two53 + 2.0, 1.0}, 2, two53 + 4.0);
    check((double[]){two53, 1.0, 0x1p-1074}, 3, two53 + 2.0);
    check((double[]){two53, 0x1.fffffffffffffp-1}, 2, two53);
    check((double[]){two53, 0x1.fffffffffffffp-1, 0x1p-53}, 3, two53);
    check((double[]){two53, 0x1.fffffffffffffp-1, 0x1p-53, 0x1p-900}, 4, two53 + 2.0);
    check((double[]){0x1.fffffffffffffp52, 0x1p-1}, 2, 0x1p53); /* the carry makes one place more */
    for (int k = -1020; k < 970; k++) { /* the leading digit at every place of a bin */
        double one = ldexp(1.0, k), half = ldexp(1.0, k - 53), least = 0x1p-1074;
        int has_half = k - 53 >= -1074;
        if (has_half)
            check((double[]){one, half}, 2, one);
        if (k - 53 > -1074)
            check((double[]){one, half, least}, 3, one + 2 * half);
        if (k - 54 > -1074)
            check((double[]){one, half, -least}, 3, one);
    }
}

static void test_edges(void **unused) {
    (void)unused;
    const double least = 0x1p-1074, big = DBL_MAX;
    check((double[]){least}, 1, least);
    check((double[]){least, least, least}, 3, 3 * least);
    check((double[]){DBL_MIN, -least}, 2, DBL_MIN - least); /* the largest subnormal */
    check((double[]){DBL_MIN - least, least}, 2, DBL_MIN);
    check((double[]){big}, 1, big);
    check((double[]){big, 0x1p969}, 2, big);
    check((double[]){big, 0x1p970, -least}, 3, big);
    check((double[]){big, 0x1p970}, 2, INFINITY); /* a tie, to even: 2^1024 */
    check((double[]){big, big, -big}, 3, big);    /* never beyond on the way */
    check((double[]){big, big}, 2, INFINITY);
}

/* Many equal numbers: the bins hold carries that a digit does not. */
static void test_many(void **unused) {
    (void)unused;
    static const int exponents[] = {0, 1, 31, 32, 33, 1023, 1041, 1055, 2000};
    for (size_t i = 0; i < sizeof exponents / sizeof *exponents; i++) {
        struct sy_exact_sum s = {{0}, 0};
        double x = from_bits(0xfffffffffffffu | (uint64_t)exponents[i] << 52);
        for (int k = 0; k < 1 << 18; k++)
            sy_exact_add(&s, x);
        assert_true(sy_exact_round(&s) == ldexp(x, 18));
        for (int k = 0; k < 12; k++) { /* 2^30 numbers */
            struct sy_exact_sum copy = s;
            sy_exact_join(&s, &copy);
        }
        assert_true(sy_exact_round(&s) == ldexp(x, 30));
    }
}

static void test_not_finite(void **unused) {
    (void)unused;
    const double bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 4; i++) {
        struct sy_exact_sum s = {{0}, 0}, other = {{0}, 0};
        sy_exact_add(&s, 1.0);
        assert_int_equal(s.n_bad, 0);
        sy_exact_add(&s, bad[i]);
        sy_exact_add(&s, 2.0);
        assert_int_equal(s.n_bad, 1);
        assert_true(isnan(sy_exact_round(&s)));
        sy_exact_join(&other, &s);
        sy_exact_join(&other, &s);
        assert_int_equal(other.n_bad, 2);
        assert_true(isnan(sy_exact_round(&other)));
        s.n_bad = 0; /* the finite ones are all there */
        assert_true(sy_exact_round(&s) == 3.0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definition_of_the_test),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_cancellation),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
