/* The step of the expert bias: see bias.h. */
#include "moe/bias.h"

static int64_t sign_of(int64_t x) { return (x > 0) - (x < 0); }

void sy_moe_bias_update(const struct sy_config_moe *m, int64_t tokens, const int64_t *counts, float *bias) {
    int64_t experts = m->num_experts, sum = 0;
    for (int64_t e = 0; e < experts; e++)
        sum += sign_of(tokens * m->top_k - counts[e] * experts);
    for (int64_t e = 0; e < experts; e++) {
        int64_t d = sign_of(tokens * m->top_k - counts[e] * experts);
        double delta = m->bias_center ? m->load_balance_coeff * (double)(d * experts - sum) / (double)experts
                                      : m->load_balance_coeff * (double)d;
        bias[e] = bias[e] + (float)delta;
    }
}
