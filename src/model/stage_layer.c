/* One layer of a stage: norm, attention + residual, norm, feed-forward or experts + residual; backward in two
 * halves, the inputs' gradients and the weights'. Values are shown to a trace where they are computed.
 */
#include "model/stage_parts.h"

#include "ops/trace.h"

static struct sy_attn_call attn_call(const struct sy_layer_call *k) {
    return (struct sy_attn_call){k->b, k->w, k->p, k->saved};
}

/* y = BF(a + b) over the batch's rows. */
static void add(const struct sy_layer_call *k, struct sy_mat a, struct sy_mat b, struct sy_mat y) {
    const struct sy_exec *x = k->c->x;
    x->ops->join(
        x, &(struct sy_join){.rows = k->b->tokens, .d = k->c->model->dim, .n = 2, .term = {a, b}, .y = y});
}

/* The routes as this pass leaves them. */
static void write_taken(const struct sy_layer_call *k) {
    const struct sy_exec *x = k->c->x;
    int64_t bytes = k->b->tokens * k->c->moe.config->top_k * 4;
    const struct sy_routes *to = k->b->taken;
    if (!to || k->pass == SY_PASS_RECOMPUTE)
        return;
    x->ops->copy(x,
                 &(struct sy_copy){.rows = 1, .bytes = bytes, .from = k->act->moe.ids, .to = to[k->l].ids});
    x->ops->copy(x, &(struct sy_copy){.rows = 1, .bytes = bytes, .from = k->act->moe.w, .to = to[k->l].w});
}

static struct sy_sequences sequences_of(const struct sy_batch *b) {
    const struct sy_group_batch *g = b->group;
    return g ? (struct sy_sequences){g->rounds, g->of, 1} : (struct sy_sequences){1, &b->at.n, 0};
}

/* Shows a value of the pass to whoever looks. */
static void show(const struct sy_layer_call *k, const char *what, struct sy_mat x, int64_t d) {
    const struct sy_trace *t = k->c->x->trace;
    const struct sy_span *at = &k->b->at;
    if (t && k->pass == SY_PASS_TRAIN && x.data)
        t->rows(t->self, &(struct sy_trace_rows){what, k->l, at->first, at->n, at->seq_len, d, x});
}

/* Of the exchanges of a layer's rows, too. */
static sy_status at_layer(sy_status status, const struct sy_layer_call *k) {
    return status == SY_OK ? SY_OK : sy_fail_context(status, "layer %d", k->l);
}

static sy_status moe_fwd(struct sy_stage *s, const struct sy_layer_call *k) {
    const struct sy_layer_ctx *c = k->c;
    struct sy_moe_call call = {.pass = k->pass,
                               .saved = k->saved,
                               .n_sequences = k->b->at.n,
                               .seq_len = k->b->at.seq_len,
                               .sequences = sequences_of(k->b),
                               .place = k->b->sequence,
                               .layer = k->l,
                               .layers = c->model->n_layers,
                               .given = k->b->given ? &k->b->given[k->l] : NULL,
                               .counts = c->counts ? c->counts + k->l * c->moe.config->num_experts : NULL,
                               .tally = c->tally};
    SY_TRY(at_layer(sy_moe_fwd(&c->moe, &k->w->moe, &call,
                               &(struct sy_moe_memory){&k->act->moe, NULL, &s->moe}, k->act->n2, s->y),
                    k));
    write_taken(k);
    return SY_OK;
}

sy_status sy_stage_layer_fwd(struct sy_stage *s, const struct sy_layer_call *k, struct sy_mat x,
                             struct sy_mat y) {
    const struct sy_layer_ctx *c = k->c;
    struct sy_layer_act *t = k->act;
    struct sy_attn_call attn = attn_call(k);
    int64_t d = c->model->dim, tokens = k->b->tokens;
    int again = k->pass == SY_PASS_RECOMPUTE;
    double eps = c->model->norm_eps;
    show(k, "input", x, d);
    sy_norm_fwd(c, eps, tokens, &(struct sy_row_norm){d, k->w->attn_norm, x, t->r1}, t->n1);
    show(k, "norm before attention", t->n1, d);
    s->attn->fwd(c, &attn, t->n1, &t->attn, x, t->x_mid);
    show(k, "attention", t->attn.o, sy_stage_width(s));
    show(k, "input + attention", t->x_mid, d);
    sy_norm_fwd(c, eps, tokens, &(struct sy_row_norm){d, k->w->ffn_norm, t->x_mid, t->r2}, t->n2);
    show(k, "norm before feed-forward", t->n2, d);
    if (!sy_layer_is_moe(c->model, k->l)) {
        sy_mlp_fwd(c->x, &k->w->ffn,
                   &(struct sy_mlp_fwd){.rows = sy_rows_dense(1, tokens),
                                        .in = t->n2,
                                        .gu = t->ffn_gu,
                                        .scratch = s->ffn_a,
                                        .residual = t->x_mid,
                                        .y = again ? (struct sy_mat){0} : y});
        show(k, "output", y, d);
        return SY_OK;
    }
    SY_TRY(moe_fwd(s, k));
    show(k, "experts", s->y, d);
    if (!again)
        add(k, t->x_mid, s->y, y);
    show(k, "output", y, d);
    return SY_OK;
}

sy_status sy_stage_layer_bwd_inputs(struct sy_stage *s, const struct sy_layer_call *k, struct sy_mat x,
                                    struct sy_mat dy, const struct sy_layer_grad *g, struct sy_mat dx) {
    const struct sy_layer_ctx *c = k->c;
    struct sy_layer_act *t = k->act;
    struct sy_attn_call attn = attn_call(k);
    int64_t d = c->model->dim, tokens = k->b->tokens;
    show(k, "gradient of output", dy, d);
    if (sy_layer_is_moe(c->model, k->l))
        SY_TRY(at_layer(sy_moe_bwd(&c->moe, &k->w->moe, &(struct sy_moe_memory){&t->moe, &g->moe, &s->moe},
                                   t->n2, dy, g->dn2),
                        k));
    else
        sy_mlp_bwd(c->x, &k->w->ffn,
                   &(struct sy_mlp_bwd){.rows = sy_rows_dense(1, tokens),
                                        .dy = dy,
                                        .gu = t->ffn_gu,
                                        .scratch = s->ffn_a,
                                        .grad = &g->ffn,
                                        .dx = g->dn2});
    sy_norm_bwd(c, tokens, &(struct sy_row_norm){d, k->w->ffn_norm, t->x_mid, t->r2}, g->dn2, dy, g->dx_mid);
    show(k, "gradient of feed-forward's input", g->dn2, d);
    show(k, "gradient of input + attention", g->dx_mid, d);
    s->attn->bwd_inputs(c, &attn, &(struct sy_attn_back){t->n1, g->dx_mid, &t->attn, &g->attn}, g->dn1);
    sy_norm_bwd(c, tokens, &(struct sy_row_norm){d, k->w->attn_norm, x, t->r1}, g->dn1, g->dx_mid, dx);
    show(k, "gradient of attention's input", g->dn1, d);
    show(k, "gradient of input", dx, d);
    return SY_OK;
}

/* --- weight gradients ----------------------------------------------------------------------------------- */

void sy_stage_layer_bwd_weights(struct sy_stage *s, const struct sy_layer_call *k, struct sy_mat x,
                                struct sy_mat dy, const struct sy_layer_grad *g,
                                const struct sy_grad_sink *sink) {
    const struct sy_layer_act *t = k->act;
    struct sy_attn_call attn = attn_call(k);
    struct sy_row_norm norm1 = {.d = k->c->model->dim, .x = x, .r = t->r1};
    struct sy_row_norm norm2 = {.d = k->c->model->dim, .x = t->x_mid, .r = t->r2};
    if (sy_layer_is_moe(k->c->model, k->l))
        sy_moe_hand(sink, &k->b->at,
                    &(struct sy_moe_handed){.env = &k->c->moe,
                                            .layer = k->l,
                                            .params = k->p,
                                            .n = t->n2,
                                            .dy = dy,
                                            .act = &t->moe,
                                            .grad = &g->moe,
                                            .source = k->b->group ? k->b->group->source : NULL,
                                            .n_sources = k->b->group ? k->b->group->n_sources : 0});
    else
        sy_mlp_hand(sink, &k->b->at, &(struct sy_mlp_handed){k->p->w13, k->p->w2, t->n2, dy, &g->ffn});
    sy_norm_weights(k->b, sink, k->p->ffn_norm, &norm2, g->dn2);
    s->attn->bwd_weights(k->c, &attn, &(struct sy_attn_back){t->n1, g->dx_mid, &t->attn, &g->attn}, sink);
    sy_norm_weights(k->b, sink, k->p->attn_norm, &norm1, g->dn1);
    sink->flush(sink->self);
}
