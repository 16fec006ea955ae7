/* Weights of an MoE layer by itself, from a checkpoint's tensors to stored ones with W1 and W3 fused; its expert bias. See
 * public.h.
 */
#include <inttypes.h>

#include "base/fmath.h"
#include "moe/bias.h"
#include "moe/public.h"

/* n consecutive elements, rounded, from element `at` of a stored matrix on. */
static void store(const struct sy_moe *m, int64_t n, const float *from, struct sy_mat to, int64_t at) {
    m->exec.ops->cast(&m->exec, &(struct sy_cast){.n = n, .x = from, .y = sy_at(to.data, to.dtype, at)});
}

static void store_all(struct sy_moe *m, const struct sy_moe_tensors *t) {
    int64_t d = m->o.dim, f = m->o.inter_dim, fs = m->config.num_shared_experts * f, e = m->config.num_experts;
    const struct sy_expert_weights *w = &m->w.experts;
    store(m, e * d, t->gate, m->w.gate, 0);
    for (int64_t i = 0; i < m->n_experts; i++) {
        store(m, f * d, t->w1 + i * f * d, w->w13, i * w->w13_step);
        store(m, f * d, t->w3 + i * f * d, w->w13, i * w->w13_step + f * d);
        store(m, d * f, t->w2 + i * d * f, w->w2, i * w->w2_step);
    }
    if (m->gate_bias)
        memcpy(m->gate_bias, t->gate_bias, (size_t)e * sizeof(float));
    if (fs > 0) {
        store(m, fs * d, t->shared_w1, m->w.shared.w13, 0);
        store(m, fs * d, t->shared_w3, m->w.shared.w13, fs * d);
        store(m, d * fs, t->shared_w2, m->w.shared.w2, 0);
    }
    if (m->config.shared_gate)
        store(m, d, t->shared_gate, m->w.shared_gate, 0);
}

sy_status sy_moe_set_weights(struct sy_moe *m, const struct sy_moe_tensors *weights, int64_t version) {
    if (version < 0)
        SY_FAIL(SY_ERR_USAGE, "moe layer: weights of version %" PRId64 ": must be 0 (none) or more", version);
    SY_TRY(sy_moe_check_tensors(m, weights, 1));
    if (m->has_weights && version > 0 && version == m->w.version)
        return SY_OK;
    SY_TRY(sy_moe_check_idle(m, "weights are set"));
    store_all(m, weights);
    m->prepared.w13_version = m->prepared.w2_version = 0; /* an older version may come again with other values */
    m->w.version = version;
    m->has_weights = 1;
    return SY_OK;
}

/* --- expert bias ------------------------------------------------------------------------------------------------------ */

static sy_status check_bias(const struct sy_moe *m) {
    if (!m->expert_bias)
        SY_FAIL(SY_ERR_USAGE, "moe layer: there is no expert bias: moe.load_balance_coeff = 0");
    return SY_OK;
}

sy_status sy_moe_expert_bias(const struct sy_moe *m, float *out) {
    SY_TRY(check_bias(m));
    memcpy(out, m->expert_bias, (size_t)m->config.num_experts * sizeof *out);
    return SY_OK;
}

sy_status sy_moe_set_expert_bias(struct sy_moe *m, const float *bias) {
    SY_TRY(check_bias(m));
    SY_TRY(sy_moe_check_idle(m, "the expert bias is set"));
    for (int64_t e = 0; e < m->config.num_experts; e++)
        if (!sy_f32_finite(bias[e]))
            SY_FAIL(SY_ERR_USAGE, "moe layer: expert bias %g of expert %" PRId64 ": must be finite", bias[e], e);
    memcpy(m->expert_bias, bias, (size_t)m->config.num_experts * sizeof *bias);
    return SY_OK;
}

sy_status sy_moe_update_bias(struct sy_moe *m) {
    int64_t routes = 0, e_count = m->config.num_experts;
    SY_TRY(sy_moe_enter(m, &(struct sy_moe_ticket){.step = SY_MOE_UPDATE_BIAS},
                        sy_moe_check_idle(m, "the expert bias is updated")));
    SY_TRY(m->env.ep.ops->sum_i64(&m->env.ep, SY_OK, m->counts, e_count));
    for (int64_t e = 0; e < e_count; e++)
        routes += m->counts[e];
    if (m->expert_bias)
        sy_moe_bias_update(&m->config, routes / m->config.top_k, m->counts, m->expert_bias);
    sy_moe_discard(m);
    return SY_OK;
}
