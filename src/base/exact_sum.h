/* An exact sum of fp64 numbers, whatever their order: 72 int64 bins of 32-bit digits that cover the whole
 * range of fp64.
 *
 * value = sum of bin[i] * 2^(32 i - 1088). Each number is split into its digits and added as integers; up to
 * 2^30 numbers may be added. Sums of parts are added bin by bin. Rounded once, to nearest even.
 */
#ifndef SY_BASE_EXACT_SUM_H
#define SY_BASE_EXACT_SUM_H

#include "base/fmath.h"

enum { SY_EXACT_BINS = 72, SY_EXACT_LOWEST = -1088 };

struct sy_exact_sum {
    int64_t bin[SY_EXACT_BINS];
    int64_t n_bad; /* numbers that are not finite; they are not added */
};

/* The three digits of x, for bins *bin to *bin + 2. Returns 0 if x is not finite. */
SY_BOTH int sy_exact_digits(double x, int *bin, int64_t digit[3]) {
    uint64_t u = sy_f64_bits(x), mantissa = u & 0xfffffffffffffu;
    int e = (int)(u >> 52 & 0x7ff);
    if (e == 0x7ff)
        return 0;
    if (e == 0)
        e = 1;
    else
        mantissa |= (uint64_t)1 << 52;
    int at = e - 1075 - SY_EXACT_LOWEST, shift = at % 32; /* x = mantissa * 2^(e - 1075) */
    int64_t sign = u >> 63 ? -1 : 1;
    uint64_t low = (mantissa & 0xffffffffu) << shift, high = (mantissa >> 32)
                                                             << shift; /* below 2^63 and 2^53 */
    *bin = at / 32;
    digit[0] = sign * (int64_t)(low & 0xffffffffu);
    digit[1] = sign * (int64_t)((low >> 32) + (high & 0xffffffffu));
    digit[2] = sign * (int64_t)(high >> 32);
    return 1;
}

SY_BOTH void sy_exact_add(struct sy_exact_sum *s, double x) {
    int bin;
    int64_t digit[3];
    if (!sy_exact_digits(x, &bin, digit)) {
        s->n_bad++;
        return;
    }
    for (int i = 0; i < 3; i++)
        s->bin[bin + i] += digit[i];
}

SY_BOTH void sy_exact_join(struct sy_exact_sum *s, const struct sy_exact_sum *other) {
    for (int i = 0; i < SY_EXACT_BINS; i++)
        s->bin[i] += other->bin[i];
    s->n_bad += other->n_bad;
}

/* NaN if a number was not finite. The sum must not be negative. */
SY_BOTH double sy_exact_round(const struct sy_exact_sum *s) {
    if (s->n_bad)
        return NAN;
    uint32_t digit[SY_EXACT_BINS];
    int64_t carry = 0;
    int top = -1;
    for (int i = 0; i < SY_EXACT_BINS; i++) {
        int64_t v = s->bin[i] + carry;
        digit[i] = (uint32_t)(v & 0xffffffff);
        carry = (v - (int64_t)digit[i]) / ((int64_t)1 << 32);
        if (digit[i])
            top = i;
    }
    if (top < 0)
        return 0.0;
    /* the top 64 bits from the leading digit on, and whether anything lies below */
    unsigned __int128 window = 0;
    for (int i = 0; i < 4; i++)
        window = window << 32 | (top - i >= 0 ? digit[top - i] : 0);
    int sticky = 0;
    for (int i = top - 4; i >= 0; i--)
        sticky |= digit[i] != 0;
    int lead = 127;
    while (!(window >> lead & 1))
        lead--;
    int drop = lead - 52; /* at least 43: the leading digit has its bit 96 or more */
    uint64_t kept = (uint64_t)(window >> drop);
    unsigned __int128 rest = window & (((unsigned __int128)1 << drop) - 1),
                      half = (unsigned __int128)1 << (drop - 1);
    if (rest > half || (rest == half && (sticky || (kept & 1))))
        kept++;
    int exponent = 32 * (top - 3) + SY_EXACT_LOWEST + drop;
    double v = (double)kept; /* exact: at most 2^53 */
    for (; exponent > 0; exponent--)
        v *= 2.0;
    for (; exponent < 0 && v != 0.0; exponent++)
        v *= 0.5;
    return v;
}

#endif
