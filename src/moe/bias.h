/* The step of the expert bias, which balances load without a loss (NUMERICS 3, "Expert bias"): from integer counts of the
 * whole global batch, so that no order of sums can show.
 */
#ifndef SY_MOE_BIAS_H
#define SY_MOE_BIAS_H

#include <stdint.h>

#include "config/config.h"

/* bias [E] += coeff d_e, or with bias_center coeff (d_e E - sum d) / E; d_e = sign(tokens K - counts[e] E). counts [E]:
 * routes of all `tokens` tokens. */
void sy_moe_bias_update(const struct sy_config_moe *config, int64_t tokens, const int64_t *counts, float *bias);

#endif
