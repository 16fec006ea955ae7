/* The router of an MoE layer: see router.h. */
#include "moe/router.h"

#include "base/fmath.h"
#include "ops/product.h"

int sy_router_has_losses(const struct sy_config_moe *m) { return m->seq_aux_loss_coeff > 0 || m->z_loss_coeff > 0; }

static enum sy_score_func score_func(const struct sy_config_moe *m) {
    return m->score_func == SY_SCORE_SIGMOID   ? SY_ROUTER_SIGMOID
           : m->score_func == SY_SCORE_SOFTMAX ? SY_ROUTER_SOFTMAX
                                               : SY_ROUTER_TOPK_SOFTMAX;
}

static sy_status choose(const struct sy_moe_env *env, const struct sy_moe_weights *w, const struct sy_moe_call *call,
                        struct sy_moe_act *act, const struct sy_moe_work *g) {
    const struct sy_config_moe *m = env->config;
    struct sy_router_fwd op = {.tokens = call->n_sequences * env->seq_len,
                               .experts = m->num_experts,
                               .top_k = m->top_k,
                               .score_func = score_func(m),
                               .groups = m->num_expert_groups,
                               .limited_groups = m->num_limited_groups,
                               .group_top2_sum = m->group_score == SY_GROUP_TOP2_SUM,
                               .route_norm = m->route_norm,
                               .route_scale = (float)m->route_scale,
                               .forced_seq_len = env->forced_balance ? env->seq_len : 0,
                               .logits = g->logits,
                               .bias = w->expert_bias,
                               .given = call->given ? call->given->ids : NULL,
                               .chosen_only = !sy_router_has_losses(m),
                               .s = act->s,
                               .ids = act->ids,
                               .w = act->w,
                               .bad_token = g->bad_token};
    env->x->ops->router_fwd(env->x, &op);
    if (*g->bad_token >= 0)
        SY_FAIL(SY_ERR_NONFINITE, "router: token %lld of the batch (sequence %lld, position %lld) has a NaN logit",
                (long long)*g->bad_token, (long long)(*g->bad_token / env->seq_len),
                (long long)(*g->bad_token % env->seq_len));
    if (call->given && call->given->w)
        memcpy(act->w, call->given->w, (size_t)(op.tokens * m->top_k) * sizeof *act->w);
    return SY_OK;
}

static void losses(const struct sy_moe_env *env, const struct sy_moe_call *call, const struct sy_moe_act *act,
                   const struct sy_moe_work *g) {
    const struct sy_config_moe *m = env->config;
    int64_t loss[2] = {0, 0}, bad = 0;
    double sequences = (double)env->loss_sequences;
    env->x->ops->router_losses(env->x, &(struct sy_router_losses){.sequences = call->n_sequences,
                                                                  .seq_len = env->seq_len,
                                                                  .experts = m->num_experts,
                                                                  .top_k = m->top_k,
                                                                  .score_func = score_func(m),
                                                                  .balance = (float)(m->seq_aux_loss_coeff / sequences),
                                                                  .z = (float)(m->z_loss_coeff / sequences),
                                                                  .logits = g->logits,
                                                                  .s = act->s,
                                                                  .ids = act->ids,
                                                                  .dl = act->dl_loss,
                                                                  .loss = loss,
                                                                  .n_bad = &bad});
    if (call->pass != SY_PASS_TRAIN)
        return;
    for (int i = 0; i < 2 && call->loss; i++)
        call->loss[i] += loss[i];
    if (call->n_bad)
        *call->n_bad += bad;
}

/* Forward keeps what it chose, recompute must choose the same. */
static sy_status check(const struct sy_moe_env *env, const struct sy_moe_call *call, const struct sy_moe_act *act) {
    int64_t k = env->config->top_k, n = call->n_sequences * env->seq_len * k;
    if (!act->kept_ids || call->pass == SY_PASS_EVAL)
        return SY_OK;
    if (call->pass == SY_PASS_TRAIN) {
        memcpy(act->kept_ids, act->ids, (size_t)n * sizeof *act->ids);
        memcpy(act->kept_w, act->w, (size_t)n * sizeof *act->w);
        return SY_OK;
    }
    for (int64_t i = 0; i < n; i++)
        if (act->kept_ids[i] != act->ids[i] || sy_f32_bits(act->kept_w[i]) != sy_f32_bits(act->w[i]))
            SY_FAIL(SY_ERR_RUNTIME,
                    "recompute differs from forward at token %lld of the batch: expert %d, now %d; memory or hardware is "
                    "faulty, or this is a bug (activation_checkpoint.determinism_check)",
                    (long long)(i / k), act->kept_ids[i], act->ids[i]);
    return SY_OK;
}

sy_status sy_router_run(const struct sy_moe_env *env, const struct sy_moe_weights *w, const struct sy_moe_call *call,
                        struct sy_mat n, struct sy_moe_act *act, struct sy_moe_work *g) {
    int64_t e = env->config->num_experts;
    sy_product(env->x, call->n_sequences * env->seq_len, e, env->d, n, sy_mat_t(w->gate), w->gate_bias,
               sy_mat_of(g->logits, SY_F32, e));
    sy_status status = choose(env, w, call, act, g);
    if (status == SY_OK)
        status = check(env, call, act);
    if (env->ep.size > 1)
        status = env->ep.ops->agree(&env->ep, status);
    if (status == SY_OK && call->pass != SY_PASS_EVAL && sy_router_has_losses(env->config))
        losses(env, call, act, g);
    return status;
}

void sy_router_bwd(const struct sy_moe_env *env, int64_t tokens, const struct sy_moe_act *act, struct sy_moe_work *g) {
    const struct sy_config_moe *m = env->config;
    env->x->ops->router_bwd(env->x, &(struct sy_router_bwd){.tokens = tokens,
                                                            .experts = m->num_experts,
                                                            .top_k = m->top_k,
                                                            .score_func = score_func(m),
                                                            .route_norm = m->route_norm,
                                                            .route_scale = (float)m->route_scale,
                                                            .s = act->s,
                                                            .ids = act->ids,
                                                            .dw = g->dw,
                                                            .aux = sy_router_has_losses(m) ? act->dl_loss : NULL,
                                                            .dlogits = g->dlogits});
}
