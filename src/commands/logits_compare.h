/* How far two models' logits are apart. */
#ifndef SY_COMMANDS_LOGITS_COMPARE_H
#define SY_COMMANDS_LOGITS_COMPARE_H

#include <stdint.h>

struct sy_logits_distance {
    int64_t n;       /* rows that were compared */
    int64_t same;    /* of them, where both have the same first choice: the greatest logit, the lowest id */
    double max, sum; /* of |a - b| over all logits */
    double kl_max, kl_sum; /* over rows, nats: sum of p (ln p - ln q), p = softmax b, q = softmax a; >= 0 */
};

/* Adds a row: a is ours, b what it is compared with. Finite values. */
void sy_logits_distance_add(struct sy_logits_distance *d, const float *a, const float *b, int64_t vocab);

#endif
