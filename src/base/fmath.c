/* fp64 elementary functions for tables and scalars: argument reduction, then a Taylor or atanh series
 * (fmath.h). */
#include "base/fmath.h"

#define LN2 0x1.62e42fefa39efp-1
#define INV_LN2 0x1.71547652b82fep+0

static double exp2_scaled(double p, int n) { return p * sy_f64_from_bits((uint64_t)(n + 1023) << 52); }

double sy_exp2_f64(double x) {
    if (!(x > -1100.0))
        return x != x ? x : 0.0;
    if (x > 1100.0)
        return INFINITY;
    double n = rint(x), t = (x - n) * LN2;
    double p = 1.0; /* exp(t), |t| <= 0.3466: sum of t^k / k!, the next term is below 5e-18 */
    for (int k = 14; k >= 1; k--)
        p = 1.0 + p * t / (double)k;
    int half = (int)n / 2;
    return exp2_scaled(exp2_scaled(p, half), (int)n - half);
}

double sy_log2_f64(double x) {
    uint64_t bits = sy_f64_bits(x);
    int e = (int)(bits >> 52) - 1023;
    double m = sy_f64_from_bits((bits & 0xfffffffffffffu) | 0x3ff0000000000000u);
    if (m > 0x1.6a09e667f3bcdp+0) {
        m *= 0.5;
        e++;
    }
    double s = (m - 1.0) / (m + 1.0), z = s * s, p = 0.0; /* log m = 2 atanh s, |s| <= 0.1716 */
    for (int k = 23; k >= 3; k -= 2)
        p = (p + 1.0 / (double)k) * z;
    return (double)e + (2.0 * s + 2.0 * s * p) * INV_LN2;
}

double sy_log_f64(double x) { return sy_log2_f64(x) * LN2; }

double sy_pow_f64(double base, double e) { return sy_exp2_f64(e * sy_log2_f64(base)); }

/* x - n*pi/2 in [-pi/4, pi/4]; pi/2 in three parts of 33 bits, so that n * part is exact for |n| < 2^20. */
static double reduce(double x, int64_t *n_out) {
    double n = rint(x * 0x1.45f306dc9c883p-1);
    *n_out = (int64_t)n;
    return ((x - n * 0x1.921fb544p+0) - n * 0x1.0b4611a6p-34) - n * 0x1.3198a2e037073p-69;
}

static double sin_series(double r) {
    double z = r * r, p = 1.0;
    for (int k = 20; k >= 2; k -= 2)
        p = 1.0 - p * z / (double)(k * (k + 1));
    return r * p;
}

static double cos_series(double r) {
    double z = r * r, p = 1.0;
    for (int k = 19; k >= 1; k -= 2)
        p = 1.0 - p * z / (double)(k * (k + 1));
    return p;
}

double sy_sin_f64(double x) {
    int64_t n;
    double r = reduce(x, &n), s = (n & 1) ? cos_series(r) : sin_series(r);
    return (n & 2) ? -s : s;
}

double sy_cos_f64(double x) {
    int64_t n;
    double r = reduce(x, &n), c = (n & 1) ? sin_series(r) : cos_series(r);
    return ((n + 1) & 2) ? -c : c;
}
