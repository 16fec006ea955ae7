/* The elementary functions (NUMERICS 2) against long double libm: bounds, exact values, what happens at
 * the ends. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/fmath.h"

static uint64_t random_state = 5;
static uint64_t random_bits(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}
static double uniform(double lo, double hi) {
    return lo + (hi - lo) * ((double)(random_bits() >> 11) * 0x1p-53);
}

static uint32_t bits(float x) { return sy_f32_bits(x); }

static void exp2_is_exact_at_integers(void **state) {
    (void)state;
    for (int n = -126; n <= 127; n++)
        assert_int_equal(bits(sy_exp2_f32((float)n)), (uint32_t)(n + 127) << 23);
}

static void exp2_at_the_ends(void **state) {
    (void)state;
    static const float zero[] = {-127.0f, -127.5f, -1e30f, -INFINITY, NAN};
    for (size_t i = 0; i < sizeof zero / sizeof *zero; i++)
        assert_int_equal(bits(sy_exp2_f32(zero[i])), 0);
    assert_int_equal(bits(sy_exp2_f32(sy_f32_from_bits(0xffffffffu))), 0);
    assert_int_equal(bits(sy_exp2_f32(127.0f)), bits(0x1p127f));
    assert_int_equal(bits(sy_exp2_f32(1e9f)), bits(0x1p127f));
    assert_int_equal(bits(sy_exp2_f32(INFINITY)), bits(0x1p127f));
    assert_int_equal(bits(sy_exp2_f32(0.0f)), bits(1.0f));
    assert_int_equal(bits(sy_exp2_f32(-0.0f)), bits(1.0f));
    assert_int_equal(bits(sy_exp2_f32(0x1p-149f)), bits(1.0f));
    assert_int_equal(bits(sy_exp_f32(0.0f)), bits(1.0f));
    assert_int_equal(bits(sy_sig_f32(0.0f)), bits(0.5f));
    assert_int_equal(bits(sy_sig_f32(200.0f)), bits(1.0f));
}

static void check_exp2(float x) {
    long double want = exp2l((long double)x), error = fabsl((long double)sy_exp2_f32(x) - want);
    if (x >= -126.0f ? error > 1.716e-7L * want : error >= 0x1p-127L)
        fail_msg("EXP2(%a) = %a, error %Lg of %Lg", (double)x, (double)sy_exp2_f32(x), error, want);
}

/* Relative error 1.7e-7 from -126 on (all fractions: 1.7155e-7, at -0x1.fffd5cp-2); absolute below 2^-127
 * between -127 and -126. */
static void exp2_bounds(void **state) {
    (void)state;
    for (int i = -(1 << 19); i <= 1 << 19; i++) /* the whole fraction */
        check_exp2((float)i * 0x1p-20f);
    check_exp2(-0x1.fffd5cp-2f);
    for (int i = 0; i < 500000; i++)
        check_exp2((float)uniform(-126.0, 127.0));
    for (float x = -126.0f; x > -127.0f; x = nextafterf(x, -200.0f)) /* every value between */
        check_exp2(x);
}

/* Where the polynomial changes hands, at n + 1/2, and from one fp32 to the next it may fall by rounding
 * alone. */
static void exp2_is_nearly_monotone(void **state) {
    (void)state;
    for (int n = -126; n < 127; n++)
        for (int at = 0; at < 2; at++) {
            float x = (float)n + 0.5f * (float)at, first = sy_exp2_f32(nextafterf(x, -200.0f));
            for (int i = 0; i < 3; i++, x = nextafterf(x, 200.0f)) {
                float y = sy_exp2_f32(x);
                assert_true(y >= first * (1.0f - 2.5e-7f));
                first = y;
            }
        }
    for (float x = -126.0f; x < 126.9f; x += 0x1p-10f)
        assert_true(sy_exp2_f32(x + 0x1p-10f) > sy_exp2_f32(x));
}

/* LOG and LOG2 of normal numbers: NUMERICS 2 gives no bound; these are what the formulae reach, 8.1e-8 and
 * 1.23e-7. */
static void log_bounds(void **state) {
    (void)state;
    for (int i = 0; i < 1000000; i++) {
        uint32_t near_one = 0x3f000000u + (uint32_t)(random_bits() >> 40);
        uint32_t u = i % 2 ? near_one : 0x00800000u + (uint32_t)(random_bits() % 0x7f000000u);
        float z = sy_f32_from_bits(u);
        long double ln = logl((long double)z), l2 = log2l((long double)z);
        long double e = fabsl((long double)sy_log_f32(z) - ln), e2 = fabsl((long double)sy_log2_f32(z) - l2);
        if (e > 1e-7L * fabsl(ln) || e2 > 1.4e-7L * fabsl(l2))
            fail_msg("LOG(%a): error %Lg of %Lg; LOG2: error %Lg of %Lg", (double)z, e, ln, e2, l2);
    }
    assert_int_equal(bits(sy_log_f32(1.0f)), 0);
    assert_int_equal(bits(sy_log2_f32(1.0f)), 0);
    for (int n = -126; n <= 127; n++)
        assert_int_equal(bits(sy_log2_f32(sy_f32_from_bits((uint32_t)(n + 127) << 23))), bits((float)n));
}

static void check_relative(const char *what, double x, double got, long double want, double bound) {
    if (!(fabsl((long double)got - want) <= (long double)bound * fabsl(want)))
        fail_msg("%s(%a) = %a, relative error %Lg", what, x, got, fabsl(((long double)got - want) / want));
}

/* fmath.h promises a relative error below 4e-16; log2 reaches 4.04e-16 and log, one rounding more,
 * 5.3e-16. */
static void fp64_exp2_and_log2(void **state) {
    (void)state;
    for (int i = 0; i < 400000; i++) {
        double x = i % 2 ? uniform(-1020.0, 1023.0) : uniform(-1.0, 1.0);
        check_relative("exp2", x, sy_exp2_f64(x), exp2l((long double)x), 4e-16);
        double z = i % 2 ? exp2(uniform(-1000.0, 1000.0)) : uniform(0.5, 2.0);
        check_relative("log2", z, sy_log2_f64(z), log2l((long double)z), 4.5e-16);
        check_relative("log", z, sy_log_f64(z), logl((long double)z), 6e-16);
    }
    for (int n = -1074; n <= 1023; n++)
        assert_true(sy_exp2_f64((double)n) == ldexp(1.0, n));
    for (int n = -1022; n <= 1023; n++)
        assert_true(sy_log2_f64(ldexp(1.0, n)) == (double)n);
    assert_true(sy_exp2_f64(1024.0) == INFINITY && sy_exp2_f64(INFINITY) == INFINITY);
    assert_true(sy_exp2_f64(-1101.0) == 0.0 && sy_exp2_f64(-INFINITY) == 0.0);
    assert_true(isnan(sy_exp2_f64(NAN)));
}

/* |x| <= 2^20, absolute error below 3e-16. */
static void fp64_sin_and_cos(void **state) {
    (void)state;
    for (int i = 0; i < 600000; i++) {
        double x = i % 3 == 0   ? uniform(-4.0, 4.0)
                   : i % 3 == 1 ? uniform(-0x1p20, 0x1p20)
                                : 1.5707963267948966 * (double)(int64_t)uniform(-600000.0, 600000.0);
        long double s = fabsl((long double)sy_sin_f64(x) - sinl((long double)x));
        long double c = fabsl((long double)sy_cos_f64(x) - cosl((long double)x));
        if (s >= 3e-16L || c >= 3e-16L)
            fail_msg("x = %a: sin off by %Lg, cos by %Lg", x, s, c);
    }
    assert_true(sy_sin_f64(0.0) == 0.0 && sy_cos_f64(0.0) == 1.0);
}

/* Powers of beta and of theta: the error grows with |e log2 base|. */
static void fp64_pow(void **state) {
    (void)state;
    for (int i = 0; i < 100000; i++) {
        double b = i % 2 ? uniform(0.8, 1.0) : uniform(1.0, 1e6), e = uniform(-40.0, 40.0);
        long double want = powl((long double)b, (long double)e);
        check_relative("pow", b, sy_pow_f64(b, e), want, 4e-16 * (2.0 + fabs(e * log2(b))));
    }
    assert_true(sy_pow_f64(0.9, 0.0) == 1.0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp2_is_exact_at_integers),
        cmocka_unit_test(exp2_at_the_ends),
        cmocka_unit_test(exp2_bounds),
        cmocka_unit_test(exp2_is_nearly_monotone),
        cmocka_unit_test(log_bounds),
        cmocka_unit_test(fp64_exp2_and_log2),
        cmocka_unit_test(fp64_sin_and_cos),
        cmocka_unit_test(fp64_pow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
