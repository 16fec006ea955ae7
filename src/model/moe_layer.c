/* The mixture-of-experts feed-forward of a layer: see moe_layer.h. */
#include "model/moe_layer.h"

#include "model/ffn.h"

static struct sy_expert_weights expert_weights(const struct sy_layer_ctx *c, const struct sy_layer_params *p) {
    const struct sy_param *q = c->w.params->param;
    int64_t e = c->moe.config->num_experts, first, n;
    int64_t step = e > 1 ? q[p->first_expert + 2].offset - q[p->first_expert].offset : 0;
    sy_exchange_share(e, c->moe.ep.rank, c->moe.ep.size, &first, &n);
    int w13 = p->first_expert + 2 * (int)first;
    return (struct sy_expert_weights){sy_weight(c, w13), sy_weight(c, w13 + 1), step, step, c->moe.d, c->moe.f};
}

struct sy_moe_weights sy_layer_moe_weights(const struct sy_layer_ctx *c, const struct sy_layer_params *p,
                                           struct sy_prepared *prepared) {
    struct sy_moe_weights w = {.gate = sy_weight(c, p->gate),
                               .gate_bias = sy_vector(c, p->gate_bias),
                               .expert_bias = sy_vector(c, p->expert_bias),
                               .experts = expert_weights(c, p),
                               .prepared = prepared,
                               .version = c->w.version};
    if (c->moe.config->num_shared_experts > 0)
        w.shared = sy_ffn_weights(c, p->shared_w13, p->shared_w2);
    if (c->moe.config->shared_gate)
        w.shared_gate = sy_weight(c, p->shared_gate);
    return w;
}

void sy_layer_moe_bwd_weights(const struct sy_layer_ctx *c, const struct sy_layer_params *p, const struct sy_grad_sink *sink,
                              struct sy_mat n, struct sy_mat dy, const struct sy_moe_act *act, const struct sy_moe_work *g) {
    const struct sy_dispatch *rows = sy_moe_rows(&c->moe, act);
    int64_t t = c->batch.tokens, e = c->moe.config->num_experts;
    int first = p->first_expert + 2 * (int)(c->moe.ep.size > 1 ? act->exchange.first_expert : 0);
    sink->matrix(sink->self, p->gate, 0, t, g->dlogits, n);
    if (p->gate_bias >= 0)
        sink->vector(sink->self, p->gate_bias, 1, sy_heads_of(g->dlogits, 0, e), (struct sy_heads){0}, NULL);
    sink->experts(sink->self, &(struct sy_sink_experts){first, 2, rows->experts, rows->offset, g->dgu, act->x});
    sink->experts(sink->self, &(struct sy_sink_experts){first + 1, 2, rows->experts, rows->offset, g->dy, g->h});
    if (c->moe.config->num_shared_experts == 0)
        return;
    struct sy_mat dys = c->moe.config->shared_gate ? g->dys : dy;
    if (c->moe.config->shared_gate)
        sink->matrix(sink->self, p->shared_gate, 0, t, g->dshared_logit, n);
    sy_ffn_bwd_weights(c, p->shared_w13, p->shared_w2, sink, n, dys, &g->shared);
}
