/* Weights of an MoE layer by itself, from a checkpoint's tensors to stored ones with W1 and W3 fused; its
 * expert bias. See layerapi.h.
 */
#include <inttypes.h>

#include "base/fmath.h"
#include "layerapi/layerapi.h"

/* n consecutive elements, rounded, from element `at` of a stored matrix on. */
static void add(struct sy_moe *m, int64_t n, const float *from, struct sy_mat to, int64_t at) {
    m->cast[m->n_casts++] = (struct sy_cast_item){n, from, sy_at(to.data, to.dtype, at)};
}

/* W1 | W3 of `groups` networks, and their W2. */
static void add_mlp(struct sy_moe *m, int64_t groups, int64_t n, const float *const w[3], struct sy_mat w13,
                    struct sy_mat w2) {
    for (int64_t i = 0; i < groups; i++) {
        add(m, n, w[0] + i * n, w13, 2 * i * n);
        add(m, n, w[1] + i * n, w13, (2 * i + 1) * n);
    }
    add(m, groups * n, w[2], w2, 0);
}

int64_t sy_moe_most_casts(const struct sy_moe *m) { return 2 * m->n_experts + 6; }

void sy_moe_list_casts(struct sy_moe *m) {
    const struct sy_moe_tensors *t = &m->tensors;
    int64_t d = m->o.dim, f = m->o.inter_dim, fs = sy_moe_shared_width(m);
    m->n_casts = 0;
    add(m, m->config.num_experts * d, t->gate, m->gate, 0);
    if (m->n_experts > 0)
        add_mlp(m, m->n_experts, f * d, (const float *const[]){t->w1, t->w3, t->w2}, m->w13, m->w2);
    if (fs > 0)
        add_mlp(m, 1, fs * d, (const float *const[]){t->shared_w1, t->shared_w3, t->shared_w2}, m->shared_w13,
                m->shared_w2);
    if (m->config.shared_gate)
        add(m, d, t->shared_gate, m->shared_gate, 0);
}

static void store_all(const struct sy_moe *m, const struct sy_moe_tensors *from) {
    const struct sy_moe_tensors *t = &m->tensors;
    struct sy_moe_tensor list[SY_MOE_TENSORS];
    sy_moe_list_tensors(m, list);
    for (int i = 0; i < SY_MOE_TENSORS; i++)
        if (list[i].has)
            sy_moe_copy(m, *sy_moe_tensor_of(t, &list[i]), *sy_moe_tensor_of(from, &list[i]),
                        (size_t)list[i].n * sizeof(float));
    m->exec.ops->cast(&m->exec, &(struct sy_cast){m->cast, m->n_casts});
    if (m->gate_bias)
        sy_moe_copy(m, m->gate_bias, t->gate_bias, (size_t)m->config.num_experts * sizeof(float));
}

/* The views, packed for this version; 0: never packed. */
static void view_all(struct sy_moe *m, int64_t version) {
    const struct sy_exec *x = &m->exec;
    int64_t d = m->o.dim, f = m->o.inter_dim, fs = sy_moe_shared_width(m);
    struct sy_mlp_stored experts = {m->n_experts, d, f, m->w13, m->w2},
                         shared = {1, d, fs, m->shared_w13, m->shared_w2};
    m->w = (struct sy_moe_weights){
        .gate = sy_weight_of(x, m->gate, m->config.num_experts, d, version, &m->gate_cache),
        .gate_bias = m->gate_bias,
        .expert_bias = m->expert_bias,
        .experts = sy_mlp_weights_of(x, &experts, version, &m->experts_cache)};
    if (fs > 0)
        m->w.shared = sy_mlp_weights_of(x, &shared, version, &m->shared_cache);
    if (m->config.shared_gate)
        m->w.shared_gate = sy_weight_of(x, m->shared_gate, 1, d, version, &m->shared_gate_cache);
}

sy_status sy_moe_set_weights(struct sy_moe *m, const struct sy_moe_tensors *weights, int64_t version) {
    if (version < 0)
        SY_FAIL(SY_ERR_USAGE, "moe layer: weights of version %" PRId64 ": must be 0 (none) or more", version);
    SY_TRY(sy_moe_check_tensors(m, weights, 1));
    if (m->has_weights && version > 0 && version == m->version)
        return SY_OK;
    SY_TRY(sy_moe_check_idle(m, "weights are set"));
    store_all(m, weights);
    m->made++; /* what caches go by: a caller's version may come again with other values */
    view_all(m, version > 0 ? m->made : 0);
    m->version = version;
    m->has_weights = 1;
    return sy_exec_wait(&m->exec);
}

/* --- expert bias ------------------------------------------------------------------------------- */

static sy_status check_bias(const struct sy_moe *m) {
    if (!m->expert_bias)
        SY_FAIL(SY_ERR_USAGE,
                "moe layer: there is no expert bias: moe.load_balance_coeff = 0 and moe.keep_bias = false");
    return SY_OK;
}

sy_status sy_moe_expert_bias(const struct sy_moe *m, float *out) {
    SY_TRY(check_bias(m));
    sy_moe_copy(m, out, m->expert_bias, (size_t)m->config.num_experts * sizeof *out);
    return sy_exec_wait(&m->exec);
}

sy_status sy_moe_set_expert_bias(struct sy_moe *m, const float *bias) {
    SY_TRY(check_bias(m));
    SY_TRY(sy_moe_check_idle(m, "the expert bias is set"));
    for (int64_t e = 0; e < m->config.num_experts; e++)
        if (!sy_f32_finite(bias[e]))
            SY_FAIL(SY_ERR_USAGE, "moe layer: expert bias %g of expert %" PRId64 ": must be finite", bias[e],
                    e);
    sy_moe_copy(m, m->expert_bias, bias, (size_t)m->config.num_experts * sizeof *bias);
    return sy_exec_wait(&m->exec);
}

/* From the counts of all ranks, in m->seen_counts. */
static void move_bias(const struct sy_moe *m) {
    const int64_t *counts[] = {m->call_counts};
    float *bias[] = {m->expert_bias};
    int64_t routes = 0, experts = m->config.num_experts;
    for (int64_t e = 0; e < experts; e++)
        routes += m->seen_counts[e];
    sy_moe_copy(m, m->call_counts, m->seen_counts, (size_t)experts * sizeof *m->seen_counts);
    m->exec.ops->expert_bias(&m->exec, &(struct sy_expert_bias){.experts = experts,
                                                                .routes = routes,
                                                                .n_layers = 1,
                                                                .counts = counts,
                                                                .bias = bias,
                                                                .coeff = m->config.load_balance_coeff,
                                                                .center = m->config.bias_center});
}

sy_status sy_moe_update_bias(struct sy_moe *m) {
    const struct sy_comm *c = &m->env.ep;
    int64_t experts = m->config.num_experts;
    SY_TRY(sy_moe_enter(m, &(struct sy_moe_ticket){.step = SY_MOE_UPDATE_BIAS},
                        sy_moe_check_idle(m, "the expert bias is updated")));
    memcpy(m->seen_counts, m->counts, (size_t)experts * sizeof *m->counts);
    SY_TRY(c->ops->sum_i64(c, SY_OK, m->seen_counts, experts));
    if (m->expert_bias)
        move_bias(m);
    sy_moe_discard(m);
    return sy_exec_wait(&m->exec);
}
