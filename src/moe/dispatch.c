/* Dispatch and combine on one process: see dispatch.h. */
#include "moe/dispatch.h"

void sy_dispatch_take(struct sy_arena *a, int64_t max_sequences, int64_t seq_len, int64_t experts, int64_t top_k,
                      struct sy_dispatch *d) {
    size_t rows = (size_t)(max_sequences * seq_len * top_k);
    *d = (struct sy_dispatch){.seq_len = seq_len, .experts = experts, .top_k = top_k};
    d->offset = sy_arena_take(a, "routes", (size_t)(experts * max_sequences + 1), sizeof *d->offset);
    d->row = sy_arena_take(a, "routes", rows, sizeof *d->row);
    d->route = sy_arena_take(a, "routes", rows, sizeof *d->route);
}

void sy_dispatch_sort(const struct sy_exec *x, struct sy_dispatch *d, int64_t sequences, const int32_t *ids) {
    d->sequences = sequences;
    d->tokens = sequences * d->seq_len;
    d->rows = d->tokens * d->top_k;
    d->ids = ids;
    x->ops->route_sort(x, &(struct sy_route_sort){.sequences = sequences,
                                                  .seq_len = d->seq_len,
                                                  .experts = d->experts,
                                                  .top_k = d->top_k,
                                                  .ids = ids,
                                                  .offset = d->offset,
                                                  .row = d->row,
                                                  .route = d->route});
}

void sy_dispatch_rows(const struct sy_exec *x, const struct sy_dispatch *d, int64_t width, const float *w,
                      struct sy_mat tokens, struct sy_mat rows) {
    x->ops->permute(x,
                    &(struct sy_permute){
                        .rows = d->rows, .top_k = d->top_k, .d = width, .route = d->route, .w = w, .x = tokens, .y = rows});
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

void sy_dispatch_to_rows(const struct sy_exec *x, const struct sy_dispatch *d, const float *routes, float *rows) {
    x->ops->gather_f32(x, &(struct sy_gather_f32){.n = d->rows, .index = d->route, .x = routes, .y = rows});
}

void sy_dispatch_to_routes(const struct sy_exec *x, const struct sy_dispatch *d, const float *rows, float *routes) {
    x->ops->gather_f32(x, &(struct sy_gather_f32){.n = d->rows, .scatter = 1, .index = d->route, .x = rows, .y = routes});
}
