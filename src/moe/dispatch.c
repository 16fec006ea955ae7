/* Dispatch and combine within one rank: see dispatch.h. */
#include "moe/dispatch.h"

#include <assert.h>

void sy_dispatch_take(const struct sy_exec *x, struct sy_arena *a, int64_t max_sequences, int64_t max_tokens,
                      int64_t experts, int64_t top_k, struct sy_dispatch *d) {
    int64_t routes = max_tokens * top_k, rows = sy_dispatch_most_rows(x, routes, experts * max_sequences);
    *d = (struct sy_dispatch){.experts = experts, .top_k = top_k};
    d->offset = sy_arena_take(a, "routes", (size_t)(experts * max_sequences + 1), sizeof *d->offset);
    d->row = sy_arena_take(a, "routes", (size_t)routes, sizeof *d->row);
    d->route = sy_arena_take(a, "routes", (size_t)rows, sizeof *d->route);
    d->tile = sy_arena_take(a, "routes", (size_t)sy_dispatch_most_tiles(rows, experts), sizeof *d->tile);
    d->n_tiles = sy_arena_take(a, "routes", 1, sizeof *d->n_tiles);
}

static struct sy_route_sort begin(const struct sy_exec *x, struct sy_dispatch *d, int64_t sequences, int64_t seq_len,
                                  const int32_t *ids) {
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
                                            .y = rows});
}

void sy_dispatch_combine(const struct sy_exec *x, const struct sy_dispatch *d, int64_t width, const float *w,
                         struct sy_mat rows, struct sy_mat shared, struct sy_mat y) {
    x->ops->combine(x, &(struct sy_combine){.tokens = d->tokens,
                                            .top_k = d->top_k,
                                            .d = width,
                                            .experts = d->experts,
                                            .groups = d->combine_groups,
                                            .ids = d->ids,
                                            .row = d->row,
                                            .w = w,
                                            .o = rows,
                                            .shared = shared,
                                            .y = y});
}

/* The last offset: rows that there are. */
static const int64_t *used(const struct sy_dispatch *d) { return d->offset + d->experts * d->sequences; }

static int may_write(const struct sy_dispatch *d, int64_t width, struct sy_mat rows, const struct sy_scatter *s,
                     struct sy_mat y) {
    size_t row_bytes = (size_t)width * sizeof(float), n = (size_t)d->rows;
    return y.dtype == SY_F32 && y.row == width &&
           !sy_scatter_add_overlaps(y.data, (size_t)d->tokens * row_bytes, rows.data,
                                    n * (size_t)rows.row * sy_dtype_bytes(rows.dtype), d->route, n * sizeof *d->route,
                                    s->protect, s->protect_bytes);
}

void sy_dispatch_scatter(const struct sy_exec *x, const struct sy_dispatch *d, int64_t width, const float *w,
                         struct sy_mat rows, struct sy_mat shared, const struct sy_scatter *s,
                         struct sy_moe_counters *counters, struct sy_mat y) {
    assert(d->combine_groups == 0);
    if (w)
        sy_dispatch_to_rows(x, d, w, s->scale);
    int in_place = may_write(d, width, rows, s, y);
    struct sy_mat sum = in_place ? y : sy_mat_of(s->spare, SY_F32, width);
    x->ops->fill(x, &(struct sy_fill){.n = d->tokens * width, .data = sum.data});
    x->ops->scatter_add(x, &(struct sy_scatter_add){.n = d->rows,
                                                    .d = width,
                                                    .out_rows = d->tokens,
                                                    .used = used(d),
                                                    .index = d->route,
                                                    .top_k = d->top_k,
                                                    .scale = w ? s->scale : NULL,
                                                    .src = rows,
                                                    .out = sum});
    counters->scatter_add_inplace += in_place;
    counters->scatter_add += !in_place;
    struct sy_join join = {.rows = d->tokens, .d = width, .n = 1, .term = {sum, shared}, .y = y};
    join.n += shared.data != NULL;
    if (!in_place || join.n > 1)
        x->ops->join(x, &join);
}

void sy_dispatch_to_rows(const struct sy_exec *x, const struct sy_dispatch *d, const float *routes, float *rows) {
    x->ops->gather_f32(
        x, &(struct sy_gather_f32){.n = d->rows, .used = used(d), .index = d->route, .x = routes, .y = rows});
}

void sy_dispatch_to_routes(const struct sy_exec *x, const struct sy_dispatch *d, const float *rows, float *routes) {
    x->ops->gather_f32(x, &(struct sy_gather_f32){.n = d->tokens * d->top_k, .index = d->row, .x = rows, .y = routes});
}
