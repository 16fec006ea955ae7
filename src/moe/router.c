/* The router of an MoE layer: see router.h. */
#include "moe/router.h"

int sy_router_has_losses(const struct sy_config_moe *m) {
    return m->seq_aux_loss_coeff > 0 || m->z_loss_coeff > 0;
}

static enum sy_score_func score_func(const struct sy_config_moe *m) {
    return m->score_func == SY_SCORE_SIGMOID   ? SY_ROUTER_SIGMOID
           : m->score_func == SY_SCORE_SOFTMAX ? SY_ROUTER_SOFTMAX
                                               : SY_ROUTER_TOPK_SOFTMAX;
}

static void copy(const struct sy_exec *x, const void *from, int64_t bytes, void *to) {
    x->ops->copy(x, &(struct sy_copy){.rows = 1, .bytes = bytes, .from = from, .to = to});
}

static void choose(const struct sy_moe_env *env, const struct sy_moe_weights *w,
                   const struct sy_moe_call *call, const struct sy_moe_act *act,
                   const struct sy_moe_scratch *g) {
    const struct sy_config_moe *m = env->config;
    struct sy_router_fwd op = {.tokens = call->n_sequences * call->seq_len,
                               .experts = m->num_experts,
                               .top_k = m->top_k,
                               .score_func = score_func(m),
                               .groups = m->num_expert_groups,
                               .limited_groups = m->num_limited_groups,
                               .group_top2_sum = m->group_score == SY_GROUP_TOP2_SUM,
                               .route_norm = m->route_norm,
                               .route_scale = (float)m->route_scale,
                               .seq_len = call->seq_len,
                               .forced = env->forced_balance,
                               .logits = g->logits,
                               .bias = w->expert_bias,
                               .given = call->given ? call->given->ids : NULL,
                               .chosen_only = !sy_router_has_losses(m),
                               .s = act->s,
                               .ids = act->ids,
                               .w = act->w,
                               .place = call->place,
                               .layer = call->layer,
                               .layers = call->layers,
                               .bad_token = &call->tally->bad_token};
    env->x->ops->router_fwd(env->x, &op);
    if (call->given && call->given->w)
        copy(env->x, call->given->w, op.tokens * m->top_k * (int64_t)sizeof *act->w, act->w);
}

static void losses(const struct sy_moe_env *env, const struct sy_moe_call *call, const struct sy_moe_act *act,
                   const struct sy_moe_scratch *g) {
    const struct sy_config_moe *m = env->config;
    double sequences = (double)env->loss_sequences;
    int counts = call->pass == SY_PASS_TRAIN;
    env->x->ops->router_losses(
        env->x, &(struct sy_router_losses){.sequences = call->n_sequences,
                                           .seq_len = call->seq_len,
                                           .experts = m->num_experts,
                                           .top_k = m->top_k,
                                           .score_func = score_func(m),
                                           .balance = (float)(m->seq_aux_loss_coeff / sequences),
                                           .z = (float)(m->z_loss_coeff / sequences),
                                           .logits = g->logits,
                                           .s = act->s,
                                           .ids = act->ids,
                                           .dl = act->dl_loss,
                                           .loss = counts ? call->tally->router_loss : NULL,
                                           .n_bad = counts ? &call->tally->n_bad_router : NULL});
}

/* Forward keeps what it chose, recompute must choose the same. */
static void check(const struct sy_moe_env *env, const struct sy_moe_call *call,
                  const struct sy_moe_act *act) {
    int64_t k = env->config->top_k, tokens = call->n_sequences * call->seq_len;
    if (!act->first_ids || call->pass == SY_PASS_EVAL)
        return;
    if (call->pass == SY_PASS_TRAIN) {
        copy(env->x, act->ids, tokens * k * (int64_t)sizeof *act->ids, act->first_ids);
        copy(env->x, act->w, tokens * k * (int64_t)sizeof *act->w, act->first_w);
        return;
    }
    env->x->ops->routes_equal(env->x, &(struct sy_routes_equal){.tokens = tokens,
                                                                .seq_len = call->seq_len,
                                                                .top_k = k,
                                                                .was_ids = act->first_ids,
                                                                .ids = act->ids,
                                                                .was_w = act->first_w,
                                                                .w = act->w,
                                                                .place = call->place,
                                                                .layer = call->layer,
                                                                .layers = call->layers,
                                                                .changed = call->tally->changed});
}

void sy_router_run(const struct sy_moe_env *env, const struct sy_moe_weights *w,
                   const struct sy_moe_call *call, struct sy_mat n, const struct sy_moe_act *act,
                   const struct sy_moe_scratch *g) {
    int64_t tokens = call->n_sequences * call->seq_len;
    sy_linear_fwd(env->x, tokens, &w->gate, w->gate_bias, n,
                  sy_mat_of(g->logits, SY_F32, env->config->num_experts));
    choose(env, w, call, act, g);
    check(env, call, act);
    if (call->pass != SY_PASS_EVAL && sy_router_has_losses(env->config))
        losses(env, call, act, g);
}

void sy_router_bwd(const struct sy_moe_env *env, int64_t tokens, const struct sy_moe_act *act,
                   const struct sy_moe_scratch *g, struct sy_mat dlogits) {
    const struct sy_config_moe *m = env->config;
    env->x->ops->router_bwd(env->x,
                            &(struct sy_router_bwd){.tokens = tokens,
                                                    .experts = m->num_experts,
                                                    .top_k = m->top_k,
                                                    .score_func = score_func(m),
                                                    .route_norm = m->route_norm,
                                                    .route_scale = (float)m->route_scale,
                                                    .s = act->s,
                                                    .ids = act->ids,
                                                    .dw = g->dw,
                                                    .aux = sy_router_has_losses(m) ? act->dl_loss : NULL,
                                                    .dlogits = dlogits});
}
