/* The routes of a batch by (expert, sequence, token): counting_sort.cuh. Forced balance has a formula for
 * all. */
#include "ops/cuda/counting_sort.cuh"

static SY_DEV struct sy_part part_of(const struct sy_route_sort &op, const struct sy_sort &s) {
    return sy_my_part(s, op.ids + blockIdx.y * op.seq_len * op.top_k, op.seq_len, op.top_k, 0);
}

SY_KERNEL(SY_SORT_THREADS) count_parts(struct sy_route_sort op, struct sy_sort s) {
    SY_SHARED(uint32_t, shared);
    sy_count_part(s, part_of(op, s), shared);
}

SY_KERNEL(SY_SORT_THREADS) place_routes(struct sy_route_sort op, struct sy_sort s) {
    SY_SHARED(uint32_t, shared);
    int64_t base = blockIdx.y * op.seq_len * op.top_k;
    sy_place_part(
        s, part_of(op, s), shared,
        [&](uint32_t i, uint32_t row) {
            op.row[base + i] = (int32_t)row;
            op.route[row] = (int32_t)(base + i);
        },
        [&](uint32_t row) { op.route[row] = -1; });
}

extern "C" void sy_cuda_route_sort(const struct sy_exec *x, const struct sy_route_sort *op) {
    struct sy_sort s = {.experts = op->experts,
                        .sequences = op->sequences,
                        .segment = x->device->segment,
                        .offset = op->offset,
                        .count = op->count,
                        .tile = op->tile,
                        .n_tiles = op->n_tiles};
    if (!sy_sort_cut(x, op->seq_len, &s))
        return;
    if (op->sequences > 0)
        SY_LAUNCH(x, count_parts, sy_sort_grid(s), SY_SORT_THREADS, sy_sort_count_bytes(s), *op, s);
    SY_LAUNCH(x, sy_lay_out, 1, SY_SORT_THREADS, 0, s);
    if (op->sequences > 0)
        SY_LAUNCH(x, place_routes, sy_sort_grid(s), SY_SORT_THREADS, sy_sort_place_bytes(s), *op, s);
}

/* --- forced balance: every segment has `each` rows ------------------------------------------------------ */

SY_KERNEL(SY_THREADS) forced_segments(struct sy_route_sort op, int64_t each, int64_t stride) {
    int64_t bins = op.experts * op.sequences, step = (int64_t)gridDim.x * SY_THREADS,
            me = (int64_t)blockIdx.x * SY_THREADS + threadIdx.x;
    int64_t rows = op.sequences * stride, tiles = (rows + SY_TILE_ROWS - 1) / SY_TILE_ROWS;
    for (int64_t i = me; i <= bins; i += step)
        op.offset[i] = i * stride;
    for (int64_t i = me; i < bins && op.count; i += step)
        op.count[i] = each;
    for (int64_t i = me; i < bins * (stride - each); i += step)
        op.route[i / (stride - each) * stride + each + i % (stride - each)] = -1;
    for (int64_t i = me; i < op.experts * tiles; i += step)
        op.tile[i] =
            (struct sy_tile){.group = i / tiles, .first = i / tiles * rows + i % tiles * SY_TILE_ROWS};
    if (me == 0)
        *op.n_tiles = op.experts * tiles;
}

/* Token i's experts are (i K + k) mod E: from a = i K mod E up, those past E - 1 from 0. In ascending order
 * the ones that wrapped come first. */
SY_KERNEL(SY_THREADS) forced_routes(struct sy_route_sort op, int64_t stride) {
    int64_t n = op.sequences * op.seq_len * op.top_k, step = (int64_t)gridDim.x * SY_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * SY_THREADS + threadIdx.x; i < n; i += step) {
        int64_t t = i / op.top_k, k = i % op.top_k, b = t / op.seq_len, first = t % op.seq_len * op.top_k,
                a = first % op.experts;
        int64_t wrapped = a + op.top_k > op.experts ? a + op.top_k - op.experts : 0;
        int64_t q = first + k, e = q % op.experts, j = q / op.experts; /* the sequence's route q = j E + e */
        int64_t place = k < op.top_k - wrapped ? k + wrapped : k - (op.top_k - wrapped);
        int64_t row = (e * op.sequences + b) * stride + j, route = t * op.top_k + place;
        op.row[route] = (int32_t)row;
        op.route[row] = (int32_t)route;
    }
}

extern "C" void sy_cuda_route_forced(const struct sy_exec *x, const struct sy_route_forced *op) {
    const struct sy_route_sort *s = &op->sort;
    int64_t each = s->seq_len * s->top_k / s->experts, segment = x->device->segment,
            stride = (each + segment - 1) / segment * segment, bins = s->experts * s->sequences;
    SY_LAUNCH(x, forced_segments, sy_blocks_for(x, bins * stride + 1, 1), SY_THREADS, 0, *s, each, stride);
    if (bins * each > 0)
        SY_LAUNCH(x, forced_routes, sy_blocks_for(x, bins * each, 1), SY_THREADS, 0, *s, stride);
}
