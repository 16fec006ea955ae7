/* Routing of `bench moe`: see bench_routing.h. */
#include "commands/bench_routing.h"

#include "base/rng.h"

void sy_bench_routing_take(const struct sy_exec *x, struct sy_arena *a, struct sy_bench_routing *r) {
    static const char *const tag = "bench";
    r->logits = sy_take_f32(a, tag, r->tokens * r->experts);
    r->s = sy_take_f32(a, tag, r->tokens * r->experts);
    r->w = sy_take_f32(a, tag, r->tokens * K);
    r->dw = sy_take_f32(a, tag, r->tokens * K);
    r->bias = sy_take_f32(a, tag, r->experts);
    r->ids = sy_arena_take(a, tag, r->tokens * K, sizeof *r->ids);
    r->bad = sy_arena_take(a, tag, 1, sizeof *r->bad);
    sy_dispatch_take(x, a, &(struct sy_dispatch_bounds){SEQUENCES, r->tokens, r->experts, K}, &r->d);
    r->dlogits = sy_take_mat(a, tag, r->tokens, r->experts, x->dtype);
}

void sy_bench_routing_fill(struct sy_bench_routing *r) {
    for (int64_t i = 0; i < r->tokens * r->experts; i++)
        r->logits[i] = (float)(sy_mix64((uint64_t)i) >> 40) * 0x1p-22f - 2.0f;
}

void sy_bench_routing_choose(const struct sy_exec *x, struct sy_bench_routing *r) {
    x->ops->router_fwd(x, &(struct sy_router_fwd){.tokens = r->tokens,
                                                  .experts = r->experts,
                                                  .top_k = K,
                                                  .score_func = SY_ROUTER_SIGMOID,
                                                  .route_norm = 1,
                                                  .route_scale = 1.0f,
                                                  .seq_len = r->tokens / SEQUENCES,
                                                  .layers = 1,
                                                  .logits = r->logits,
                                                  .bias = r->bias,
                                                  .s = r->s,
                                                  .ids = r->ids,
                                                  .w = r->w,
                                                  .bad_token = r->bad});
    sy_dispatch_sort(x, &r->d, SEQUENCES, r->tokens / SEQUENCES, r->ids);
}

void sy_bench_routing_back(const struct sy_exec *x, struct sy_bench_routing *r) {
    x->ops->router_bwd(x, &(struct sy_router_bwd){.tokens = r->tokens,
                                                  .experts = r->experts,
                                                  .top_k = K,
                                                  .score_func = SY_ROUTER_SIGMOID,
                                                  .route_norm = 1,
                                                  .route_scale = 1.0f,
                                                  .s = r->s,
                                                  .ids = r->ids,
                                                  .dw = r->dw,
                                                  .dlogits = r->dlogits});
}
