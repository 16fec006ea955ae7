/* switchyard bench ops --device cuda: router, sort, dispatch and combine of one layer. */
#include "commands/bench_gpu.h"

struct layer {
    int64_t tokens, seq_len, d, experts, top_k, layers;
    double scores, routes, moved, rows; /* bytes: fp32 [T, E], [T, K]; stored rows of all routes, of tokens */
    float *logits, *s, *w, *dl;
    int32_t *chosen; /* of router_fwd; sort and dispatch have ids of their own */
    int64_t *few;    /* what ops count, from +0 */
    struct sy_gpu_routes r;
};

static void router(struct sy_gpu_bench *b, const struct layer *l) {
    SY_GPU_ROW(b, router_fwd, sy_router_fwd, "sigmoid", bytes, 2 * l->scores + 2 * l->routes,
               {.tokens = l->tokens,
                .experts = l->experts,
                .top_k = l->top_k,
                .route_norm = 1,
                .route_scale = 1,
                .seq_len = l->seq_len,
                .logits = l->logits,
                .s = l->s,
                .ids = l->chosen,
                .w = l->w,
                .layers = 1,
                .bad_token = l->few});
    SY_GPU_ROW(b, router_bwd, sy_router_bwd, "sigmoid", bytes, 1.5 * l->scores + 2 * l->routes,
               {.tokens = l->tokens,
                .experts = l->experts,
                .top_k = l->top_k,
                .route_norm = 1,
                .route_scale = 1,
                .s = l->s,
                .ids = l->r.ids,
                .dw = l->w,
                .dlogits = sy_gpu_stored(b, l->tokens, l->experts, 1.0)});
    SY_GPU_ROW(b, router_losses, sy_router_losses, "balance", bytes, 2 * l->scores + l->routes,
               {.sequences = b->sizes->sequences,
                .seq_len = l->seq_len,
                .experts = l->experts,
                .top_k = l->top_k,
                .balance = 0.01f,
                .logits = l->logits,
                .s = l->s,
                .ids = l->r.ids,
                .dl = l->dl,
                .loss = l->few,
                .n_bad = l->few + 2});
}

static void sort(struct sy_gpu_bench *b, const struct layer *l) {
    SY_GPU_ROW(b, routes_equal, sy_routes_equal, "", bytes, 4 * l->routes,
               {.tokens = l->tokens,
                .seq_len = l->seq_len,
                .top_k = l->top_k,
                .was_ids = l->r.ids,
                .ids = l->r.ids,
                .was_w = l->w,
                .w = l->w,
                .layers = 1,
                .changed = l->few + 3});
    SY_GPU_ROW(b, count_routes, sy_count_routes, "", bytes, l->routes,
               {.tokens = l->tokens,
                .experts = l->experts,
                .top_k = l->top_k,
                .ids = l->r.ids,
                .counts = sy_gpu_take(b, l->experts * 8)});
    if (sy_gpu_wants(b, "route_sort"))
        sy_gpu_time(b, &(struct sy_gpu_row){"route_sort", "", .bytes = 3 * l->routes}, sy_gpu_call_route_sort,
                    &l->r.sort);
}

static void move(struct sy_gpu_bench *b, const struct layer *l) {
    int64_t most = l->r.rows.max_rows;
    struct sy_mat x = sy_gpu_stored(b, l->tokens, l->d, 1.0), y = sy_gpu_stored(b, l->tokens, l->d, 1.0),
                  rows = sy_gpu_stored(b, most, l->d, 1.0);
    float *one = sy_gpu_take(b, most * 4);
    SY_GPU_ROW(b, permute, sy_permute, "", bytes, l->moved + l->rows,
               {.rows = l->r.rows,
                .top_k = l->top_k,
                .d = l->d,
                .route = l->r.route,
                .x = x,
                .y = rows,
                .tokens = l->tokens,
                .row = l->r.row});
    SY_GPU_ROW(b, combine, sy_combine, "with shared experts", bytes, l->moved + 2 * l->rows,
               {.tokens = l->tokens,
                .top_k = l->top_k,
                .d = l->d,
                .experts = l->experts,
                .ids = l->r.ids,
                .row = l->r.row,
                .w = l->w,
                .o = rows,
                .shared = x,
                .y = y});
    SY_GPU_ROW(b, rowdot, sy_rowdot, "", bytes, 2 * l->moved,
               {.rows = l->r.rows, .d = l->d, .a = rows, .b = rows, .y = one});
    SY_GPU_ROW(b, gather_f32, sy_gather_f32, "", bytes, 3 * l->routes,
               {.n = most,
                .used = l->r.offset + l->experts * b->sizes->sequences,
                .index = l->r.route,
                .x = l->w,
                .y = one});
}

/* Where the experts' number divides a sequence's routes: last, as it sorts anew. */
static void forced(struct sy_gpu_bench *b, const struct layer *l) {
    if (sy_gpu_wants(b, "route_forced"))
        sy_gpu_time(b, &(struct sy_gpu_row){"route_forced", "", .bytes = 3 * l->routes},
                    sy_gpu_call_route_forced, &(struct sy_route_forced){l->r.sort});
}

static void bias(struct sy_gpu_bench *b, const struct layer *l) {
    const int64_t *counts = sy_gpu_take(b, l->experts * 8);
    float *of = sy_gpu_floats(b, l->experts, 1.0);
    SY_GPU_ROW(b, expert_bias, sy_expert_bias, "one layer", bytes, 16 * l->experts,
               {.experts = l->experts,
                .routes = l->tokens * l->top_k,
                .n_layers = 1,
                .counts = &counts,
                .bias = &of,
                .coeff = 1e-3});
}

void sy_gpu_bench_routing(struct sy_gpu_bench *b) {
    const struct sy_gpu_sizes *s = b->sizes;
    int64_t tokens = s->sequences * s->seq_len, e = s->experts, k = s->top_k;
    double row = (double)s->d * (double)sy_dtype_bytes(b->x.dtype);
    int mark = b->n_memory;
    if (!sy_gpu_wants(b, "router_fwd router_bwd router_losses routes_equal count_routes route_sort permute "
                         "combine rowdot gather_f32 route_forced expert_bias"))
        return;
    struct layer l = {.tokens = tokens,
                      .seq_len = s->seq_len,
                      .d = s->d,
                      .experts = e,
                      .top_k = k,
                      .scores = 4.0 * (double)(tokens * e),
                      .routes = 4.0 * (double)(tokens * k),
                      .moved = (double)(tokens * k) * row,
                      .rows = (double)tokens * row,
                      .logits = sy_gpu_floats(b, tokens * e, 1.0),
                      .s = sy_gpu_floats(b, tokens * e, 1.0),
                      .w = sy_gpu_floats(b, tokens * k, 1.0),
                      .dl = sy_gpu_floats(b, tokens * e, 1.0),
                      .chosen = sy_gpu_take(b, tokens * k * 4),
                      .few = sy_gpu_take(b, 64),
                      .r = sy_gpu_route(b, s->sequences, s->seq_len, e, k)};
    if (b->status == SY_OK) {
        router(b, &l);
        sort(b, &l);
        move(b, &l);
        forced(b, &l);
        bias(b, &l);
    }
    sy_gpu_give(b, mark);
}
