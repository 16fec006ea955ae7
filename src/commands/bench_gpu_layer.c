/* switchyard bench moe --device cuda: MoE layers as a training computes them, in the sizes of models:
 *
 *     forward     router, sort, gather, W13 with SwiGLU, W2, combine; the shared experts
 *     backward    gather dy, back through W2, SwiGLU and W13, router, combine; gradients of all weights,
 *                 fp32, written once
 *
 * Routing is the router's own choice from normal numbers. 6 T (K + shared) D F FLOPs forward, 18 in all; the
 * router's and padding are not counted. 20 calls are queued, as the peers' are: no host stands between them.
 */
#include <stdio.h>

#include "commands/bench_gpu.h"
#include "moe/layer.h"

struct layer {
    struct sy_gpu_bench *b;
    const struct sy_gpu_layer *s;
    struct sy_config_moe config;
    struct sy_moe_counters counters;
    struct sy_moe_env env;
    struct sy_moe_weights w;
    struct sy_moe_act act;
    struct sy_moe_grad grad;
    struct sy_moe_scratch scratch;
    struct sy_arena arena;
    struct sy_mat n, y, dy, dn;
    struct sy_dw dense[3], experts[2]; /* gate, shared W13 and W2; W13, W2 */
    int n_dense;
    struct sy_tally *tally;
    int64_t *counts;
};

/* --- the work ------------------------------------------------------------------------------------------- */

static struct sy_moe_memory memory_of(struct layer *l) {
    return (struct sy_moe_memory){&l->act, &l->grad, &l->scratch};
}

/* On one rank no call fails but by the device, which the wait says. */
static void forward(const struct sy_exec *x, const void *op) {
    struct layer *l = *(struct layer *const *)op;
    const struct sy_gpu_sizes *s = l->b->sizes;
    struct sy_moe_call call = {.pass = SY_PASS_TRAIN,
                               .n_sequences = s->sequences,
                               .seq_len = s->seq_len,
                               .layers = 1,
                               .counts = l->counts,
                               .tally = l->tally};
    struct sy_moe_memory memory = memory_of(l);
    (void)x;
    if (sy_moe_fwd(&l->env, &l->w, &call, &memory, l->n, l->y) != SY_OK)
        l->b->status = SY_ERR_RUNTIME;
}

static void both(const struct sy_exec *x, const void *op) {
    struct layer *l = *(struct layer *const *)op;
    struct sy_moe_memory memory = memory_of(l);
    forward(x, op);
    if (sy_moe_bwd(&l->env, &l->w, &memory, l->n, l->dy, l->dn) != SY_OK)
        l->b->status = SY_ERR_RUNTIME;
    x->ops->linear_dw(x, &(struct sy_linear_dw){l->experts, 2});
    x->ops->linear_dw(x, &(struct sy_linear_dw){l->dense, l->n_dense});
}

/* --- what it works on ----------------------------------------------------------------------------------- */

static void carve(void *self, struct sy_arena *a) {
    struct layer *l = self;
    sy_moe_take(&l->env, a, &l->act);
    sy_moe_take_grad(&l->env, a, &l->grad);
    sy_moe_take_scratch(&l->env, a, &l->scratch);
}

static struct sy_mlp_weights network(struct sy_gpu_bench *b, int64_t groups, int64_t d, int64_t f) {
    struct sy_mlp_stored w = {groups, d, f, sy_gpu_stored(b, groups * 2 * f, d, 0.02),
                              sy_gpu_stored(b, groups * d, f, 0.02)};
    return sy_mlp_weights_of(&b->x, &w, 0, NULL);
}

/* dW [m, n] of each group of rows: dy^T x. */
static struct sy_dw gradient(struct sy_gpu_bench *b, struct sy_rows rows, struct sy_mat dy, int64_t m,
                             struct sy_mat x, int64_t n) {
    return (struct sy_dw){.rows = rows,
                          .n_segments = rows.sequences,
                          .m = m,
                          .n = n,
                          .dy = dy,
                          .x = x,
                          .c = sy_gpu_take(b, rows.groups * m * n * 4),
                          .c_step = m * n};
}

static void take_gradients(struct sy_gpu_bench *b, struct layer *l) {
    const struct sy_gpu_layer *s = l->s;
    int64_t d = s->d, f = s->f, shared = s->shared * f;
    struct sy_rows tokens = sy_rows_dense(1, l->env.max_tokens), rows = sy_dispatch_rows_of(&l->act.routes);
    struct sy_mat inputs = sy_moe_inputs(&l->env, &l->act, &l->grad);
    l->experts[0] = gradient(b, rows, l->grad.experts.dgu, 2 * f, inputs, d);
    l->experts[1] = gradient(b, rows, l->grad.dy, d, l->grad.experts.h, f);
    l->dense[l->n_dense++] = gradient(b, tokens, l->grad.dlogits, s->experts, l->n, d);
    if (!shared)
        return;
    l->dense[l->n_dense++] = gradient(b, tokens, l->grad.shared.dgu, 2 * shared, l->n, d);
    l->dense[l->n_dense++] = gradient(b, tokens, l->dy, d, l->grad.shared.h, shared);
}

static void make(struct sy_gpu_bench *b, struct layer *l) {
    const struct sy_gpu_sizes *z = b->sizes;
    const struct sy_gpu_layer *s = l->s;
    int64_t tokens = z->sequences * z->seq_len;
    l->config = (struct sy_config_moe){.num_experts = s->experts,
                                       .num_shared_experts = s->shared,
                                       .top_k = s->top_k,
                                       .score_func = SY_SCORE_SIGMOID,
                                       .route_norm = true,
                                       .route_scale = 1};
    l->env = (struct sy_moe_env){.x = &b->x,
                                 .config = &l->config,
                                 .ep = {.size = 1},
                                 .d = s->d,
                                 .f = s->f,
                                 .seq_len = z->seq_len,
                                 .max_sequences = z->sequences,
                                 .max_tokens = tokens,
                                 .max_rounds = 1,
                                 .loss_sequences = z->sequences,
                                 .counters = &l->counters};
    if (b->status == SY_OK)
        b->status = sy_arena_build(b->x.device, "bench moe", carve, l, &l->arena);
    if (b->status != SY_OK)
        return;
    l->w = (struct sy_moe_weights){
        .gate = sy_weight_of(&b->x, sy_gpu_stored(b, s->experts, s->d, 0.02), s->experts, s->d, 0, NULL),
        .experts = network(b, s->experts, s->d, s->f)};
    if (s->shared)
        l->w.shared = network(b, 1, s->d, s->shared * s->f);
    struct sy_mat *const of_tokens[] = {&l->n, &l->y, &l->dy, &l->dn};
    for (size_t i = 0; i < sizeof of_tokens / sizeof *of_tokens; i++)
        *of_tokens[i] = sy_gpu_stored(b, tokens, s->d, 1.0);
    l->tally = sy_gpu_upload(b, &sy_tally_empty, sizeof sy_tally_empty);
    l->counts = sy_gpu_take(b, s->experts * 8);
    if (b->status == SY_OK)
        forward(&b->x, &l); /* the handle of its rows */
    take_gradients(b, l);
}

/* --- rows ----------------------------------------------------------------------------------------------- */

void sy_gpu_bench_layers(struct sy_gpu_bench *b) {
    b->queued = b->sizes->queued_layers;
    for (int i = 0; i < b->sizes->n_layers && b->status == SY_OK; i++) {
        int mark = b->n_memory;
        struct layer l = {.b = b, .s = &b->sizes->layer[i]};
        struct layer *const op = &l;
        make(b, &l);
        double one = 6.0 * (double)l.env.max_tokens * (double)(l.s->top_k + l.s->shared) * (double)l.s->d *
                     (double)l.s->f;
        char name[80];
        snprintf(name, sizeof name, "%s forward", l.s->name);
        sy_gpu_time(b, &(struct sy_gpu_row){"moe layer", name, .flops = one}, forward, &op);
        snprintf(name, sizeof name, "%s forward and backward", l.s->name);
        sy_gpu_time(b, &(struct sy_gpu_row){"moe layer", name, .flops = 3 * one}, both, &op);
        sy_arena_fini(&l.arena);
        sy_gpu_give(b, mark);
    }
    b->queued = 0;
}
