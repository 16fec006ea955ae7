/* How far two models' logits are apart: see logits_compare.h. All in fp64 by the functions of NUMERICS 2. */
#include "commands/logits_compare.h"

#include <math.h>

#include "base/fmath.h"

static int64_t first_choice(const float *x, int64_t n) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

/* ln of the sum of e^x. */
static double log_sum(const float *x, int64_t n, double most) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += sy_exp2_f64(((double)x[i] - most) * SY_INV_LN2);
    return most + sy_log_f64(sum);
}

void sy_logits_distance_add(struct sy_logits_distance *d, const float *a, const float *b, int64_t vocab) {
    int64_t of_a = first_choice(a, vocab), of_b = first_choice(b, vocab);
    double log_a = log_sum(a, vocab, a[of_a]), log_b = log_sum(b, vocab, b[of_b]), kl = 0;
    for (int64_t i = 0; i < vocab; i++) {
        double apart = fabs((double)a[i] - (double)b[i]), log_p = (double)b[i] - log_b,
               log_q = (double)a[i] - log_a;
        d->max = apart > d->max ? apart : d->max;
        d->sum += apart;
        kl += sy_exp2_f64(log_p * SY_INV_LN2) * (log_p - log_q);
    }
    kl = kl > 0 ? kl : 0;
    d->kl_max = kl > d->kl_max ? kl : d->kl_max;
    d->kl_sum += kl;
    d->n++;
    d->same += of_a == of_b;
}
