/* What feed-forwards hand to the sink: see ffn_weights.h. */
#include "model/ffn_weights.h"

void sy_mlp_hand(const struct sy_grad_sink *sink, const struct sy_span *at, const struct sy_mlp_handed *h) {
    sink->matrix(sink->self, at, h->w13, h->grad->dgu, h->n);
    sink->matrix(sink->self, at, h->w2, h->dy, h->grad->h);
}

static void hand_experts(const struct sy_grad_sink *sink, const struct sy_span *at,
                         const struct sy_moe_handed *h) {
    const struct sy_moe_act *act = h->act;
    sink->experts(
        sink->self, at,
        &(struct sy_sink_experts){.layer = h->layer,
                                  .first_expert = h->env->ep.size > 1 ? act->exchange->first_expert : 0,
                                  .source = h->source,
                                  .n_sources = h->n_sources,
                                  .rows = sy_dispatch_rows_of(sy_moe_rows(h->env, act)),
                                  .dgu = h->grad->experts.dgu,
                                  .x = sy_moe_inputs(h->env, act, h->grad),
                                  .dy = h->grad->dy,
                                  .h = h->grad->experts.h});
}

void sy_moe_hand(const struct sy_grad_sink *sink, const struct sy_span *at, const struct sy_moe_handed *h) {
    const struct sy_config_moe *c = h->env->config;
    const struct sy_layer_params *p = h->params;
    struct sy_mat dlogits = h->grad->dlogits;
    sink->matrix(sink->self, at, p->gate, dlogits, h->n);
    if (p->gate_bias >= 0)
        sink->vector(sink->self, at,
                     &(struct sy_sink_vector){
                         .param = p->gate_bias, .heads = 1, .a = sy_heads_of(dlogits, 0, c->num_experts)});
    hand_experts(sink, at, h);
    if (c->num_shared_experts == 0)
        return;
    if (c->shared_gate)
        sink->matrix(sink->self, at, p->shared_gate, h->grad->dshared_logit, h->n);
    sy_mlp_hand(sink, at,
                &(struct sy_mlp_handed){.w13 = p->shared_w13,
                                        .w2 = p->shared_w2,
                                        .n = h->n,
                                        .dy = c->shared_gate ? h->grad->dys : h->dy,
                                        .grad = &h->grad->shared});
}
