/* Axes: which values are marked, and where a value is. See page.h. */
#include <math.h>

#include "report/page.h"

/* 1, 2 or 5 times a power of ten, no smaller than x > 0. */
static double round_up(double x) {
    double power = pow(10, floor(log10(x))), of = x / power;
    return power * (of <= 1.0000001 ? 1 : of <= 2.0000001 ? 2 : of <= 5.0000001 ? 5 : 10);
}

struct sy_axis sy_axis_linear(double low, double high, int ticks) {
    struct sy_axis a = {.low = low, .high = high};
    if (!(high > low)) {
        double around = fabs(low) > 0 ? 0.1 * fabs(low) : 1;
        a.low = low - around;
        a.high = low + around;
    }
    double step = round_up((a.high - a.low) / ticks);
    double first = ceil(a.low / step - 1e-9);
    for (int i = 0; i < SY_MAX_TICKS && (first + i) * step <= a.high + 1e-9 * step; i++)
        a.tick[a.n_ticks++] = (first + i) * step;
    return a;
}

struct sy_axis sy_axis_log(double low, double high) {
    struct sy_axis a = {.low = low, .high = high, .is_log = 1};
    if (!(high > low * 1.000001)) {
        a.low = low / 1.1;
        a.high = low * 1.1;
    }
    int from = (int)floor(log10(a.low)), to = (int)ceil(log10(a.high)),
        every = (to - from) / SY_MAX_TICKS + 1;
    for (int e = from; e <= to; e++) {
        static const double of[] = {1, 2, 5};
        if (to - from > 3 && (e - from) % every != 0)
            continue;
        for (int k = 0; k < (to - from > 3 ? 1 : 3); k++) {
            double tick = of[k] * pow(10, e);
            if (tick >= a.low * 0.999999 && tick <= a.high * 1.000001 && a.n_ticks < SY_MAX_TICKS)
                a.tick[a.n_ticks++] = tick;
        }
    }
    if (a.n_ticks < 2) { /* less than a factor of two: as a linear one is marked */
        struct sy_axis linear = sy_axis_linear(a.low, a.high, 4);
        a.n_ticks = linear.n_ticks;
        for (int i = 0; i < a.n_ticks; i++)
            a.tick[i] = linear.tick[i];
    }
    return a;
}

double sy_axis_at(const struct sy_axis *a, double v) {
    double t = a->is_log ? log(v / a->low) / log(a->high / a->low) : (v - a->low) / (a->high - a->low);
    return t < 0 ? 0 : t > 1 ? 1 : t;
}

struct sy_axis sy_axis_steps(const struct sy_page *p) {
    double first = (double)p->first, last = (double)p->last;
    struct sy_axis a = sy_axis_linear(first, last > first ? last : first + 1, 5);
    int n = 0; /* whole steps alone */
    for (int i = 0; i < a.n_ticks; i++)
        if (a.tick[i] == floor(a.tick[i]))
            a.tick[n++] = a.tick[i];
    a.n_ticks = n;
    return a;
}
