/* Dispatch and combine within one rank: see dispatch.h. */
#include "moe/dispatch.h"

#include <assert.h>

void sy_dispatch_take(const struct sy_exec *x, struct sy_arena *a, const struct sy_dispatch_bounds *b,
                      struct sy_dispatch *d) {
    int64_t routes = b->max_tokens * b->top_k, segments = b->experts * b->max_sequences;
    int64_t rows = sy_dispatch_most_rows(x, routes, segments);
    *d = (struct sy_dispatch){.experts = b->experts, .top_k = b->top_k};
    d->offset = sy_arena_take(a, "routes", (size_t)(segments + 1), sizeof *d->offset);
    d->row = sy_arena_take(a, "routes", (size_t)routes, sizeof *d->row);
    d->route = sy_arena_take(a, "routes", (size_t)rows, sizeof *d->route);
    d->tile = sy_arena_take(a, "routes", (size_t)sy_dispatch_most_tiles(rows, b->experts), sizeof *d->tile);
    d->n_tiles = sy_arena_take(a, "routes", 1, sizeof *d->n_tiles);
}

static struct sy_route_sort begin(const struct sy_exec *x, struct sy_dispatch *d, int64_t sequences,
                                  int64_t seq_len, const int32_t *ids) {
    d->sequences = sequences;
    d->seq_len = seq_len;
    d->tokens = sequences * seq_len;
    d->rows = sy_dispatch_most_rows(x, d->tokens * d->top_k, d->experts * sequences);
    d->ids = ids;
    return (struct sy_route_sort){.sequences = sequences,
                                  .seq_len = seq_len,
                                  .experts = d->experts,
                                  .top_k = d->top_k,
                                  .ids = ids,
                                  .offset = d->offset,
                                  .count = d->count,
                                  .row = d->row,
                                  .route = d->route,
                                  .tile = d->tile,
                                  .n_tiles = d->n_tiles};
}

void sy_dispatch_sort(const struct sy_exec *x, struct sy_dispatch *d, int64_t sequences, int64_t seq_len,
                      const int32_t *ids) {
    struct sy_route_sort op = begin(x, d, sequences, seq_len, ids);
    x->ops->route_sort(x, &op);
}

void sy_dispatch_forced(const struct sy_exec *x, struct sy_dispatch *d, int64_t sequences, int64_t seq_len,
                        const int32_t *ids) {
    x->ops->route_forced(x, &(struct sy_route_forced){begin(x, d, sequences, seq_len, ids)});
}

void sy_dispatch_rows(const struct sy_exec *x, const struct sy_dispatch *d, int64_t width, const float *w,
                      struct sy_mat tokens, struct sy_mat rows) {
    x->ops->permute(x, &(struct sy_permute){.rows = sy_dispatch_rows_of(d),
                                            .top_k = d->top_k,
                                            .d = width,
                                            .route = d->route,
                                            .w = w,
                                            .x = tokens,
                                            .y = rows,
                                            .tokens = d->tokens,
                                            .row = d->row});
}

void sy_dispatch_combine(const struct sy_exec *x, const struct sy_dispatch *d,
                         const struct sy_dispatch_sum *sum) {
    x->ops->combine(x, &(struct sy_combine){.tokens = d->tokens,
                                            .top_k = d->top_k,
                                            .d = sum->width,
                                            .experts = d->experts,
                                            .groups = d->combine_groups,
                                            .ids = d->ids,
                                            .row = d->row,
                                            .w = sum->w,
                                            .o = sum->rows,
                                            .shared = sum->shared,
                                            .y = sum->y});
}

/* The last offset: rows that there are. */
static const int64_t *used(const struct sy_dispatch *d) { return d->offset + d->experts * d->sequences; }

static int may_write(const struct sy_dispatch *d, const struct sy_dispatch_sum *q,
                     const struct sy_scatter *s) {
    size_t row_bytes = (size_t)q->width * sizeof(float), n = (size_t)d->rows;
    return q->y.dtype == SY_F32 && q->y.row == q->width &&
           !sy_scatter_add_overlaps(&(struct sy_scatter_memory){
               .out = {q->y.data, (size_t)d->tokens * row_bytes},
               .src = {q->rows.data, n * (size_t)q->rows.row * sy_dtype_bytes(q->rows.dtype)},
               .index = {d->route, n * sizeof *d->route},
               .protect = {s->protect, s->protect_bytes}});
}

void sy_dispatch_scatter(const struct sy_exec *x, const struct sy_dispatch *d,
                         const struct sy_dispatch_sum *q, const struct sy_scatter *s,
                         struct sy_moe_counters *counters) {
    assert(d->combine_groups == 0);
    if (q->w)
        sy_dispatch_to_rows(x, d, q->w, s->scale);
    int in_place = may_write(d, q, s);
    struct sy_mat sum = in_place ? q->y : sy_mat_of(s->spare, SY_F32, q->width);
    x->ops->fill(x, &(struct sy_fill){.n = d->tokens * q->width, .data = sum.data});
    x->ops->scatter_add(x, &(struct sy_scatter_add){.n = d->rows,
                                                    .d = q->width,
                                                    .out_rows = d->tokens,
                                                    .used = used(d),
                                                    .index = d->route,
                                                    .top_k = d->top_k,
                                                    .scale = q->w ? s->scale : NULL,
                                                    .src = q->rows,
                                                    .out = sum});
    counters->scatter_add_inplace += in_place;
    counters->scatter_add += !in_place;
    struct sy_join join = {.rows = d->tokens, .d = q->width, .n = 1, .term = {sum, q->shared}, .y = q->y};
    join.n += q->shared.data != NULL;
    if (!in_place || join.n > 1)
        x->ops->join(x, &join);
}

void sy_dispatch_to_rows(const struct sy_exec *x, const struct sy_dispatch *d, const float *routes,
                         float *rows) {
    x->ops->gather_f32(
        x, &(struct sy_gather_f32){.n = d->rows, .used = used(d), .index = d->route, .x = routes, .y = rows});
}

void sy_dispatch_to_routes(const struct sy_exec *x, const struct sy_dispatch *d, const float *rows,
                           float *routes) {
    x->ops->gather_f32(
        x, &(struct sy_gather_f32){.n = d->tokens * d->top_k, .index = d->row, .x = rows, .y = routes});
}
