/* Which token comes next: temperature, top-k, top-p. A function of logits, seed, sample and index alone.
 *
 * p_i = exp(l_i / T) over the candidates, largest first, equal ones by id; top-k keeps the first k,
 * top-p as many as are needed for the share p of what is left. The choice is where u times the sum of
 * the kept falls, u the uniform number of (seed, purpose sample, sample, index). Sums are fp64 in that order.
 */
#ifndef SY_COMMANDS_SAMPLING_H
#define SY_COMMANDS_SAMPLING_H

#include "base/status.h"

struct sy_sampling {
    int64_t max_tokens;
    double temperature; /* 0: greedy */
    int64_t top_k;      /* 0: all */
    double top_p;       /* 1: all */
    uint64_t seed;
    uint64_t sample; /* its number among those of its prompt, from 0 */
};

struct sy_candidate {
    int32_t id;
    double p; /* its logit before, its weight after sy_sampling_choose */
};

/* Local. Chooses among c [n], n >= 1, whose p are finite logits; with a temperature they come back sorted.
 * Returns the id. */
int32_t sy_sampling_choose(const struct sy_sampling *how, int64_t index, int64_t n, struct sy_candidate *c);

/* Local. ERR_USAGE names a value out of its bounds. */
sy_status sy_sampling_check(const struct sy_sampling *how);

#endif
