/* The functions as docs/NUMERICS.md 2 prints them, written out from the page alone: with == against the
 * library's, so that whoever follows the page gets the bits of a run. Control: a libm's functions give other
 * bits now and then.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/fmath.h"
#include "base/rng.h"

static const double LN2 = 0x1.62e42fefa39efp-1, INVLN2 = 0x1.71547652b82fep+0, PI = 0x1.921fb54442d18p+1;

static uint64_t random_state = 11;
static double uniform(double lo, double hi) {
    random_state = sy_mix64(random_state + 0x9e3779b97f4a7c15u);
    return lo + (hi - lo) * ((double)(random_state >> 11) * 0x1p-53);
}

static double printed_exp2(double x) {
    if (x <= -1100.0)
        return 0.0;
    if (x > 1100.0)
        return INFINITY;
    double n = rint(x), t = (x - n) * LN2, p = 1.0;
    for (int k = 14; k >= 1; k--)
        p = 1.0 + (p * t) / k;
    int h = (int)n / 2;
    return ldexp(ldexp(p, h), (int)n - h);
}

static double printed_log2(double x) {
    int e;
    double m = 2.0 * frexp(x, &e);
    e -= 1;
    if (m > 0x1.6a09e667f3bcdp+0) {
        m = m / 2;
        e = e + 1;
    }
    double s = (m - 1) / (m + 1), z = s * s, p = 0;
    for (int k = 23; k >= 3; k -= 2)
        p = (p + 1.0 / k) * z;
    return e + (2 * s + (2 * s) * p) * INVLN2;
}

static double printed_ln(double x) { return printed_log2(x) * LN2; }

static void reduced(double x, int *quarter, double *s, double *c) {
    double n = rint(x * 0x1.45f306dc9c883p-1);
    double r = ((x - n * 0x1.921fb544p+0) - n * 0x1.0b4611a6p-34) - n * 0x1.3198a2e037073p-69, z = r * r,
           p = 1.0, q = 1.0;
    for (int k = 20; k >= 2; k -= 2)
        p = 1.0 - (p * z) / (k * (k + 1));
    for (int k = 19; k >= 1; k -= 2)
        q = 1.0 - (q * z) / (k * (k + 1));
    *quarter = (int)(((int64_t)n % 4 + 4) % 4);
    *s = r * p;
    *c = q;
}

static double printed_sin(double x) {
    int quarter;
    double s, c;
    reduced(x, &quarter, &s, &c);
    return (double[]){s, c, -s, -c}[quarter];
}

static double printed_cos(double x) {
    int quarter;
    double s, c;
    reduced(x, &quarter, &s, &c);
    return (double[]){c, -s, -c, s}[quarter];
}

static void same(const char *what, double x, double got, double want) {
    if (sy_f64_bits(got) != sy_f64_bits(want))
        fail_msg("%s(%a) is %a, as printed %a", what, x, got, want);
}

static void functions_are_as_printed(void **state) {
    (void)state;
    int64_t libm[4] = {0};
    for (int i = 0; i < 200000; i++) {
        double x = i % 2 ? uniform(-1120.0, 1120.0) : uniform(-2.0, 2.0), z = exp2(uniform(-1000.0, 1000.0));
        double a = i % 2 ? uniform(-0x1p20, 0x1p20) : uniform(-7.0, 7.0), b = uniform(0.5, 2.0);
        same("exp2", x, sy_exp2_f64(x), printed_exp2(x));
        same("log2", z, sy_log2_f64(z), printed_log2(z));
        same("log2", b, sy_log2_f64(b), printed_log2(b));
        same("ln", b, sy_log_f64(b), printed_ln(b));
        same("pow", z, sy_pow_f64(b, x), printed_exp2(x * printed_log2(b)));
        same("sin", a, sy_sin_f64(a), printed_sin(a));
        same("cos", a, sy_cos_f64(a), printed_cos(a));
        libm[0] += exp2(x) != printed_exp2(x);
        libm[1] += log2(b) != printed_log2(b);
        libm[2] += sin(a) != printed_sin(a);
        libm[3] += cos(a) != printed_cos(a);
    }
    for (int i = 0; i < 4; i++)
        assert_in_range(libm[i], 1, 200000);
    same("exp2", -1100.0, sy_exp2_f64(-1100.0), printed_exp2(-1100.0));
    for (int n = 0; n < 9; n++) /* every quarter, both signs */
        for (int sign = -1; sign <= 1; sign += 2) {
            double x = sign * n * 0x1.921fb54442d18p+0;
            same("sin", x, sy_sin_f64(x), printed_sin(x));
            same("cos", x, sy_cos_f64(x), printed_cos(x));
        }
}

static float printed_log_parts(float z, float *e) {
    static const float c[] = {0x1.204376p-4f,  -0x1.d7a37p-4f,  0x1.de4a34p-4f,
                              -0x1.fcba9ep-4f, 0x1.23d37ep-3f,  -0x1.555cap-3f,
                              0x1.999d58p-3f,  -0x1.fffff8p-3f, 0x1.555554p-2f};
    int32_t i = (int32_t)(sy_f32_bits(z) - 0x3f3504f3u), n = i >> 23;
    float f = sy_f32_from_bits(sy_f32_bits(z) - ((uint32_t)n << 23)) - 1.0f, q = c[0];
    for (int k = 1; k < 9; k++)
        q = fmaf(q, f, c[k]);
    *e = (float)n;
    return fmaf(f * f, fmaf(f, q, -0.5f), f);
}

static void logarithms_in_fp32_are_as_printed(void **state) {
    (void)state;
    for (int i = 0; i < 400000; i++) {
        float z = (float)exp2(i % 2 ? uniform(-125.0, 127.0) : uniform(-1.0, 1.0)), e,
              y = printed_log_parts(z, &e);
        same("LOG", (double)z, (double)sy_log_f32(z), (double)fmaf(e, 0x1.62e43p-1f, y));
        same("LOG2", (double)z, (double)sy_log2_f32(z), (double)fmaf(y, 0x1.715476p+0f, e));
    }
}

/* sd (sqrt(-2 ln u0) cos(2 pi u1)), drawn again beyond the cut. */
static void normals_are_as_printed(void **state) {
    (void)state;
    static const double sd[] = {0.02, 1.0, 0.0123};
    int64_t again = 0, other_order = 0;
    for (uint64_t i = 0; i < 30000; i++) {
        uint64_t key = sy_rng_key(3, SY_RNG_INIT, 0, i % 7);
        double cut = i % 2 ? 0.0 : 1.5 * sd[i % 3], x;
        for (uint32_t retry = 0;; retry++) {
            uint32_t w[4];
            sy_rng_philox(key, i, retry, w);
            double u0 = ((double)w[0] + 0.5) * 0x1p-32, u1 = ((double)w[1] + 0.5) * 0x1p-32;
            double root = sqrt(-2.0 * printed_ln(u0)), turn = printed_cos((2.0 * PI) * u1);
            x = sd[i % 3] * (root * turn);
            other_order += x != (sd[i % 3] * root) * turn;
            if (cut == 0.0 || fabs(x) <= cut)
                break;
            again++;
        }
        same("normal", (double)i, sy_rng_normal_cut(key, i, sd[i % 3], cut), x);
    }
    assert_in_range(again, 1000, 30000);
    assert_in_range(other_order, 1000, 40000);
    assert_int_equal(sy_rng_key(9, SY_RNG_SHUFFLE, 5, 77), sy_mix64(sy_mix64(9 + (3ull << 32) + 5) + 77));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_are_as_printed),
        cmocka_unit_test(logarithms_in_fp32_are_as_printed),
        cmocka_unit_test(normals_are_as_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
