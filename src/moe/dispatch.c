/* Dispatch and combine within one rank: see dispatch.h. */
#include "moe/dispatch.h"

#include <assert.h>

void sy_dispatch_take(struct sy_arena *a, int64_t max_sequences, int64_t seq_len, int64_t experts, int64_t top_k,
                      struct sy_dispatch *d) {
    size_t rows = (size_t)(max_sequences * seq_len * top_k);
    *d = (struct sy_dispatch){.seq_len = seq_len, .experts = experts, .top_k = top_k};
    d->offset = sy_arena_take(a, "routes", (size_t)(experts * max_sequences + 1), sizeof *d->offset);
    d->row = sy_arena_take(a, "routes", rows, sizeof *d->row);
    d->route = sy_arena_take(a, "routes", rows, sizeof *d->route);
}

static void begin(struct sy_dispatch *d, int64_t sequences, const int32_t *ids) {
    d->sequences = sequences;
    d->tokens = sequences * d->seq_len;
    d->rows = d->tokens * d->top_k;
    d->ids = ids;
}

void sy_dispatch_sort(const struct sy_exec *x, struct sy_dispatch *d, int64_t sequences, const int32_t *ids) {
    begin(d, sequences, ids);
    x->ops->route_sort(x, &(struct sy_route_sort){.sequences = sequences,
                                                  .seq_len = d->seq_len,
                                                  .experts = d->experts,
                                                  .top_k = d->top_k,
                                                  .ids = ids,
                                                  .offset = d->offset,
                                                  .row = d->row,
                                                  .route = d->route});
}

/* Token i's experts are (i K + k) mod E: from a = i K mod E up, those past E - 1 from 0. In ascending order the ones that
 * wrapped come first. */
static void forced_part(void *arg, int thread, int n_threads) {
    struct sy_dispatch *d = arg;
    int64_t per_sequence = d->seq_len * d->top_k, each = per_sequence / d->experts, lo, hi;
    sy_range(d->tokens, 1, thread, n_threads, &lo, &hi);
    for (int64_t t = lo; t < hi; t++) {
        int64_t b = t / d->seq_len, first = t % d->seq_len * d->top_k, a = first % d->experts;
        int64_t wrapped = a + d->top_k > d->experts ? a + d->top_k - d->experts : 0;
        for (int64_t k = 0; k < d->top_k; k++) {
            int64_t q = first + k, e = q % d->experts, j = q / d->experts; /* the sequence's route q = j E + e */
            int64_t place = k < d->top_k - wrapped ? k + wrapped : k - (d->top_k - wrapped);
            int64_t row = (e * d->sequences + b) * each + j, route = t * d->top_k + place;
            d->row[route] = (int32_t)row;
            d->route[row] = (int32_t)route;
        }
    }
}

void sy_dispatch_forced(const struct sy_exec *x, struct sy_dispatch *d, int64_t sequences, const int32_t *ids) {
    assert(sy_dispatch_is_closed(d->seq_len, d->experts, d->top_k) && d->top_k <= d->experts);
    begin(d, sequences, ids);
    int64_t each = d->seq_len * d->top_k / d->experts;
    for (int64_t i = 0; i <= d->experts * sequences; i++)
        d->offset[i] = i * each;
    sy_pool_run(x->pool, forced_part, d);
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

static int may_write(const struct sy_dispatch *d, int64_t width, struct sy_mat rows, const struct sy_scatter *s,
                     struct sy_mat y) {
    size_t row_bytes = (size_t)width * sizeof(float), n = (size_t)d->rows;
    return y.dtype == SY_F32 && y.row == width &&
           !sy_scatter_add_overlaps(y.data, (size_t)d->tokens * row_bytes, rows.data,
                                    n * (size_t)rows.row * sy_dtype_bytes(rows.dtype), s->index, n * sizeof *s->index,
                                    s->protect, s->protect_bytes);
}

void sy_dispatch_scatter(const struct sy_exec *x, const struct sy_dispatch *d, int64_t width, const float *w,
                         struct sy_mat rows, struct sy_mat shared, const struct sy_scatter *s,
                         struct sy_moe_counters *counters, struct sy_mat y) {
    assert(d->combine_groups == 0);
    for (int64_t r = 0; r < d->rows; r++)
        s->index[r] = (int32_t)(d->route[r] / d->top_k);
    if (w)
        sy_dispatch_to_rows(x, d, w, s->scale);
    int in_place = may_write(d, width, rows, s, y);
    struct sy_mat sum = in_place ? y : sy_mat_of(s->spare, SY_F32, width);
    memset(sum.data, 0, (size_t)(d->tokens * width) * sizeof(float));
    x->ops->scatter_add(x, &(struct sy_scatter_add){.n = d->rows,
                                                    .d = width,
                                                    .out_rows = d->tokens,
                                                    .index = s->index,
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
    x->ops->gather_f32(x, &(struct sy_gather_f32){.n = d->rows, .index = d->route, .x = routes, .y = rows});
}

void sy_dispatch_to_routes(const struct sy_exec *x, const struct sy_dispatch *d, const float *rows, float *routes) {
    x->ops->gather_f32(x, &(struct sy_gather_f32){.n = d->rows, .scatter = 1, .index = d->route, .x = rows, .y = routes});
}
