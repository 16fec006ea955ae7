/* Rows straight into the memory of other ranks (ops/op_direct.h): slots by counting, rows and what is said of
 * them into windows, a stable counting sort of what has arrived, and rows back. */
#include "ops/cuda/counting_sort.cuh"

/* --- slots: a block a destination ----------------------------------------------------------------------- */

/* Whether one of a token's experts first .. first + n - 1. */
static SY_DEV int goes_to(const int32_t *ids, int64_t k, int64_t first, int64_t n) {
    int goes = 0;
    for (int64_t i = 0; i < k; i++)
        goes |= ids[i] >= first && ids[i] < first + n;
    return goes;
}

SY_KERNEL(SY_SORT_THREADS) give_slots(struct sy_route_slots op) {
    int64_t tokens = op.sequences * op.seq_len, size = op.ranks, base = op.experts / size,
            more = op.experts % size, r = blockIdx.x; /* sy_experts_share */
    int64_t first = r * base + (r < more ? r : more), n = base + (r < more), slots = 0, all;
    int32_t *token = op.token + r * tokens;
    int64_t *at = op.first + r * (op.sequences + 1);
    for (int64_t begin = 0; begin < tokens; begin += SY_SORT_THREADS, slots += all) {
        int64_t t = begin + threadIdx.x;
        int goes = t < tokens && goes_to(op.ids + t * op.top_k, op.top_k, first, n);
        int64_t slot = slots + sy_sum_before(goes, &all);
        if (t < tokens && t % op.seq_len == 0)
            at[t / op.seq_len] = slot;
        if (goes)
            token[slot] = (int32_t)t;
    }
    if (threadIdx.x == 0)
        at[op.sequences] = slots;
}

extern "C" void sy_cuda_route_slots(const struct sy_exec *x, const struct sy_route_slots *op) {
    if (op->ranks > 0)
        SY_LAUNCH(x, give_slots, (unsigned)op->ranks, SY_SORT_THREADS, 0, *op);
}

/* --- into the windows: a warp a slot -------------------------------------------------------------------- */

/* n bytes, by a warp. */
static SY_DEV void copy_bytes(void *to, const void *from, int64_t n) {
    int lane = threadIdx.x % 32;
    int64_t wide = (((uint64_t)(uintptr_t)to | (uint64_t)(uintptr_t)from) & 15) == 0 ? n / 16 : 0;
#pragma unroll 4
    for (int64_t i = lane; i < wide; i += 32)
        ((uint4 *)to)[i] = ((const uint4 *)from)[i];
    for (int64_t i = 16 * wide + lane; i < n; i += 32)
        ((char *)to)[i] = ((const char *)from)[i];
}

SY_KERNEL(SY_THREADS) send_rows(struct sy_send_slots op, const struct sy_window *windows) {
    const int64_t *first = op.first + blockIdx.y * (op.sequences + 1), k = op.top_k;
    const struct sy_window to = windows[blockIdx.y];
    int64_t i = (int64_t)blockIdx.x * (SY_THREADS / 32) + threadIdx.x / 32,
            bytes = op.x.dtype == SY_F32 ? 4 : 2;
    for (int64_t b = threadIdx.x; op.ids && blockIdx.x == 0 && b <= op.sequences; b += SY_THREADS)
        to.first[b] = first[b];
    if (i >= first[op.sequences])
        return;
    int64_t t = op.token[blockIdx.y * op.tokens + i];
    copy_bytes((char *)to.rows + i * op.d * bytes, sy_row(op.x, t), op.d * bytes);
    for (int64_t j = threadIdx.x % 32; op.ids && j < k; j += 32) {
        to.ids[i * k + j] = op.ids[t * k + j];
        to.home[i * k + j] = op.row[t * k + j];
        to.w[i * k + j] = op.w[t * k + j];
    }
}

extern "C" void sy_cuda_send_slots(const struct sy_exec *x, const struct sy_send_slots *op) {
    dim3 grid(sy_cuda_blocks(op->tokens, SY_THREADS / 32), (unsigned)op->ranks);
    grid.x = grid.x > 0 ? grid.x : 1; /* the first slots are said where there are no tokens, too */
    if (op->ranks > 0)
        SY_LAUNCH(x, send_rows, grid, SY_THREADS, 0, *op, sy_cuda_upload(x, op->to, (size_t)op->ranks));
}

/* --- arrival -------------------------------------------------------------------------------------------- */

/* op's lists source and sequence are the device's here. */
static SY_DEV struct sy_part part_of(const struct sy_route_arrived &op, const struct sy_sort &s,
                                     int64_t *base) {
    int64_t source = op.source[blockIdx.y];
    const int64_t *first = op.first + source * (op.max_sequences + 1) + op.sequence[blockIdx.y];
    *base = (source * op.max_tokens + first[0]) * op.top_k; /* the sequence's first route */
    return sy_my_part(s, op.ids + *base, first[1] - first[0], op.top_k, op.first_expert);
}

SY_KERNEL(SY_SORT_THREADS) count_arrived(struct sy_route_arrived op, struct sy_sort s) {
    SY_SHARED(uint32_t, shared);
    int64_t base;
    sy_count_part(s, part_of(op, s, &base), shared);
}

SY_KERNEL(SY_SORT_THREADS) place_arrived(struct sy_route_arrived op, struct sy_sort s) {
    SY_SHARED(uint32_t, shared);
    int64_t base;
    if (op.offset[op.experts * op.sequences] == 0) /* none, or too many */
        return;
    struct sy_part p = part_of(op, s, &base);
    sy_place_part(
        s, p, shared,
        [&](uint32_t i, uint32_t row) {
            op.route[row] = (int32_t)(base + i);
            op.back[row] = op.home[base + i];
        },
        [&](uint32_t row) { op.route[row] = op.back[row] = -1; });
}

extern "C" void sy_cuda_route_arrived(const struct sy_exec *x, const struct sy_route_arrived *op) {
    struct sy_route_arrived d = *op;
    struct sy_sort s = {.experts = op->experts,
                        .sequences = op->sequences,
                        .segment = x->device->segment,
                        .offset = op->offset,
                        .tile = op->tile,
                        .n_tiles = op->n_tiles,
                        .max_rows = op->max_rows,
                        .overflow = op->overflow};
    int sorts = op->sequences > 0 && op->experts > 0;
    if (!sy_sort_cut(x, op->max_tokens, &s))
        return;
    d.source = sy_cuda_upload(x, op->source, (size_t)op->sequences);
    d.sequence = sy_cuda_upload(x, op->sequence, (size_t)op->sequences);
    if (sorts)
        SY_LAUNCH(x, count_arrived, sy_sort_grid(s), SY_SORT_THREADS, sy_sort_count_bytes(s), d, s);
    SY_LAUNCH(x, sy_lay_out, 1, SY_SORT_THREADS, 0, s);
    if (sorts)
        SY_LAUNCH(x, place_arrived, sy_sort_grid(s), SY_SORT_THREADS, sy_sort_place_bytes(s), d, s);
}

/* --- rows back: a warp a row ---------------------------------------------------------------------------- */

SY_KERNEL(SY_THREADS) send_back(struct sy_return_rows op, void *const *to) {
    int64_t i = (int64_t)blockIdx.x * (SY_THREADS / 32) + threadIdx.x / 32;
    if (i >= *op.used || op.route[i] < 0)
        return;
    int64_t source = op.route[i] / op.top_k / op.max_tokens;
    copy_bytes((char *)to[source] + op.back[i] * op.row_bytes, (const char *)op.from + i * op.row_bytes,
               op.row_bytes);
}

extern "C" void sy_cuda_return_rows(const struct sy_exec *x, const struct sy_return_rows *op) {
    if (op->rows > 0)
        SY_LAUNCH(x, send_back, sy_cuda_blocks(op->rows, SY_THREADS / 32), SY_THREADS, 0, *op,
                  sy_cuda_upload(x, op->to, (size_t)op->ranks));
}
