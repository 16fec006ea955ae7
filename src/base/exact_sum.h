/* An exact sum of fp64 numbers, whatever their order: 72 int64 bins of 32-bit digits that cover the whole
 * range of fp64.
 *
 * value = sum of bin[i] * 2^(32 i - 1088). Each number is split into its digits and added as integers; up to
 * 2^30 numbers may be added. Sums of parts are added bin by bin. Rounded once, to nearest even.
 */
#ifndef SY_BASE_EXACT_SUM_H
#define SY_BASE_EXACT_SUM_H

#include <stdint.h>

enum { SY_EXACT_BINS = 72 };

struct sy_exact_sum {
    int64_t bin[SY_EXACT_BINS];
    int64_t n_bad; /* numbers that are not finite; they are not added */
};

void sy_exact_add(struct sy_exact_sum *s, double x);
void sy_exact_join(struct sy_exact_sum *s, const struct sy_exact_sum *other);
/* NaN if a number was not finite. The sum must not be negative. */
double sy_exact_round(const struct sy_exact_sum *s);

#endif
