/* Moving rows between tokens and experts: a stable counting sort of the routes, gathers, and the combining
 * sum.
 *
 * combine: y = BF(sum over a token's experts ascending of fma(w, o, y), from +0, shared last); with C groups
 * each of C equal id ranges is summed so, one BF each, and the ranges are added ascending in fp32, from
 * +0. */
#include "ops/ref/protos.h"
#include "ops/ref/rows.h"
#include "ops/ref/tokens.h"

static int64_t up_to(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/* offset[i] is the end of segment i and becomes its start; padding has no route; tiles. */
static void finish_sort(const struct sy_exec *x, const struct sy_route_sort *op) {
    int64_t start = 0;
    for (int64_t i = 0; i < op->experts * op->sequences; i++) {
        int64_t end = op->offset[i], next = up_to(end, x->device->segment);
        op->offset[i] = start;
        if (op->count)
            op->count[i] = end - start;
        for (int64_t r = end; r < next; r++)
            op->route[r] = -1;
        start = next;
    }
    op->offset[op->experts * op->sequences] = start;
    *op->n_tiles = 0;
    for (int64_t e = 0; e < op->experts; e++)
        for (int64_t i = op->offset[e * op->sequences]; i < op->offset[(e + 1) * op->sequences];
             i += SY_TILE_ROWS)
            op->tile[(*op->n_tiles)++] = (struct sy_tile){e, i};
}

void SY_FN(route_sort)(const struct sy_exec *x, const struct sy_route_sort *op) {
    int64_t b_count = op->sequences, per = op->seq_len * op->top_k, n = b_count * per,
            bins = op->experts * b_count;
    int64_t *offset = op->offset;
    memset(offset, 0, (size_t)(bins + 1) * sizeof *offset);
    for (int64_t i = 0; i < n; i++) /* counts, one place up; then starts; then, as rows are given out, ends */
        offset[op->ids[i] * b_count + i / per + 1]++;
    for (int64_t i = 0; i < bins; i++)
        offset[i + 1] = offset[i] + up_to(offset[i + 1], x->device->segment);
    for (int64_t i = 0; i < n; i++) {
        int64_t row = offset[op->ids[i] * b_count + i / per]++;
        op->row[i] = (int32_t)row;
        op->route[row] = (int32_t)i;
    }
    finish_sort(x, op);
}

/* Token i's experts are (i K + k) mod E: from a = i K mod E up, those past E - 1 from 0. In ascending order
 * the ones that wrapped come first. */
static void forced_part(void *arg, int thread, int n_threads) {
    const struct sy_route_sort *d = arg;
    int64_t lo, hi;
    sy_range(d->sequences * d->seq_len, 1, thread, n_threads, &lo, &hi);
    for (int64_t t = lo; t < hi; t++) {
        int64_t b = t / d->seq_len, first = t % d->seq_len * d->top_k, a = first % d->experts;
        int64_t wrapped = a + d->top_k > d->experts ? a + d->top_k - d->experts : 0;
        for (int64_t k = 0; k < d->top_k; k++) {
            /* the sequence's route q = j E + e */
            int64_t q = first + k, e = q % d->experts, j = q / d->experts;
            int64_t place = k < d->top_k - wrapped ? k + wrapped : k - (d->top_k - wrapped);
            int64_t row = d->offset[e * d->sequences + b] + j, route = t * d->top_k + place;
            d->row[route] = (int32_t)row;
            d->route[row] = (int32_t)route;
        }
    }
}

void SY_FN(route_forced)(const struct sy_exec *x, const struct sy_route_forced *op) {
    const struct sy_route_sort *d = &op->sort;
    int64_t each = d->seq_len * d->top_k / d->experts, bins = d->experts * d->sequences;
    assert(d->seq_len * d->top_k % d->experts == 0 && d->top_k <= d->experts);
    for (int64_t i = 0; i < bins; i++)
        d->offset[i] = i * up_to(each, x->device->segment) + each;
    finish_sort(x, d);
    sy_pool_run(pool_for(x, bins * each), forced_part, (void *)(uintptr_t)d);
}

void SY_FN(count_routes)(const struct sy_exec *x, const struct sy_count_routes *op) {
    int64_t n = op->tokens * op->top_k, *count = sy_exec_scratch(x, 0), equal = n > 0;
    assert((size_t)op->experts * sizeof *count <= x->scratch_bytes);
    memset(count, 0, (size_t)op->experts * sizeof *count);
    for (int64_t i = 0; i < n; i++)
        count[op->ids[i]]++;
    for (int64_t e = 0; e < op->experts; e++) {
        equal &= count[e] * op->experts == n;
        if (op->counts)
            op->counts[e] += count[e];
    }
    if (op->equal)
        *op->equal += equal;
}

void SY_FN(routes_equal)(const struct sy_exec *x, const struct sy_routes_equal *op) {
    (void)x;
    for (int64_t i = 0; i < op->tokens * op->top_k; i++) {
        if (op->was_ids[i] == op->ids[i] && sy_f32_bits(op->was_w[i]) == sy_f32_bits(op->w[i]))
            continue;
        int64_t key = token_key(op->place, i / op->top_k, op->seq_len, op->layer, op->layers);
        if (!lowers(key, &op->changed[0]))
            continue;
        op->changed[1] = op->was_ids[i];
        op->changed[2] = op->ids[i];
    }
}

static void segments_part(void *arg, int thread, int n_threads) {
    const struct sy_move_segments *op = arg;
    for (int64_t i = thread; i < op->segments; i += n_threads)
        if (op->rows[i] > 0)
            memcpy((char *)op->to + op->to_at[i] * op->row_bytes,
                   (const char *)op->from + op->from_at[i] * op->row_bytes,
                   (size_t)(op->rows[i] * op->row_bytes));
}

void SY_FN(move_segments)(const struct sy_exec *x, const struct sy_move_segments *op) {
    if (op->clear_rows)
        memset(op->to, 0, (size_t)(op->clear_rows * op->row_bytes));
    sy_pool_run(x->pool, segments_part, (void *)(uintptr_t)op);
}

static void permute_row(const struct sy_exec *x, const void *arg, int64_t row, float *v) {
    const struct sy_permute *op = arg;
    int64_t route = op->route[row], t = route / op->top_k;
    if (route < 0) {
        memset(mat_row(op->y, row), 0, (size_t)op->d * sy_dtype_bytes(op->y.dtype));
        return;
    }
    if (!op->w) {
        memcpy(mat_row(op->y, row), mat_row(op->x, t), (size_t)op->d * sy_dtype_bytes(op->x.dtype));
        return;
    }
    widen(op->x.dtype, op->d, mat_row(op->x, t), v);
    for (int64_t i = 0; i < op->d; i++)
        v[i] = op->w[route] * v[i];
    narrow(x, op->y.dtype, op->d, v, mat_row(op->y, row));
}

void SY_FN(permute)(const struct sy_exec *x, const struct sy_permute *op) {
    run_rows(x, op, rows_used(&op->rows), op->d, permute_row);
}

static void combine_row(const struct sy_exec *x, const void *arg, int64_t t, float *scratch) {
    const struct sy_combine *op = arg;
    int64_t d = op->d, size = op->groups > 0 ? op->experts / op->groups : op->experts, k = 0;
    float *sum = scratch, *range = scratch + d, *v = scratch + 2 * d;
    memset(sum, 0, (size_t)d * sizeof(float));
    for (int64_t g = 0; g * size < op->experts; g++) {
        float *y = op->groups > 0 ? range : sum;
        int64_t first = k;
        if (op->groups > 0)
            memset(range, 0, (size_t)d * sizeof(float));
        for (; k < op->top_k && op->ids[t * op->top_k + k] < (g + 1) * size; k++) {
            float w = op->w ? op->w[t * op->top_k + k] : 1.0f;
            add_scaled(op->o.dtype, d, w, mat_row(op->o, op->row[t * op->top_k + k]), y);
        }
        for (int64_t i = 0; op->groups > 0 && k > first && i < d; i++)
            sum[i] = sum[i] + bf(x, range[i]);
    }
    if (op->shared.data) {
        widen(op->shared.dtype, d, mat_row(op->shared, t), v);
        for (int64_t i = 0; i < d; i++)
            sum[i] = sum[i] + v[i];
    }
    narrow(x, op->y.dtype, d, sum, mat_row(op->y, t));
}

void SY_FN(combine)(const struct sy_exec *x, const struct sy_combine *op) {
    assert(op->groups == 0 || (op->groups <= op->experts && op->experts % op->groups == 0));
    run_rows(x, op, op->tokens, 3 * op->d, combine_row);
}

void SY_FN(gather_f32)(const struct sy_exec *x, const struct sy_gather_f32 *op) {
    int64_t n = op->used ? *op->used : op->n;
    (void)x;
    for (int64_t i = 0; i < n; i++)
        op->y[i] = op->index[i] < 0 ? 0.0f : op->x[op->index[i]];
}
