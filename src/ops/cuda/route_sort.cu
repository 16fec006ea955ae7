/* The stable counting sort of the routes by (expert, sequence, token), on the device alone.
 *
 *     count    block (8 experts, sequence): in shared memory one bit a (expert, token); its population
 *     lay_out  one block: segments start at multiples of `segment`; the tiles of each expert
 *     place    as count; a route's row is its segment's first and the bits below its own
 *
 * No workspace: `offset` carries the counts from count to lay_out. Forced balance has a formula for all. */
#include "ops/cuda/values.cuh"

enum { EXPERTS = 8, LAY_OUT_THREADS = 1024 }; /* experts of a block, one a warp */

static SY_DEV int64_t up_to(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/* --- bits ----------------------------------------------------------------------------------------------- */

struct bits {                /* of the experts first .. first + 7 and the sequence b */
    int64_t first, b, words; /* words of an expert: 32 tokens each */
    uint32_t *bit, *below;   /* [EXPERTS, words]; below: bits of the words before */
};

static SY_DEV struct bits bits_of(const struct sy_route_sort &op, uint32_t *shared) {
    struct bits m = {
        .first = (int64_t)blockIdx.x * EXPERTS, .b = blockIdx.y, .words = (op.seq_len + 31) / 32};
    m.bit = shared;
    m.below = shared + EXPERTS * m.words;
    return m;
}

static SY_DEV void set_bits(const struct sy_route_sort &op, const struct bits &m) {
    int64_t n = op.seq_len * op.top_k;
    const int32_t *ids = op.ids + m.b * n;
    for (int64_t i = threadIdx.x; i < EXPERTS * m.words; i += SY_THREADS)
        m.bit[i] = 0;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < n; i += SY_THREADS) {
        int64_t e = ids[i] - m.first;
        uint32_t t = (uint32_t)i / (uint32_t)op.top_k;
        if (e >= 0 && e < EXPERTS)
            atomicOr(&m.bit[e * m.words + t / 32], 1u << t % 32);
    }
    __syncthreads();
}

/* Warp e: the bits below each of the expert's words; returns all of them. */
static SY_DEV uint32_t sum_bits(const struct bits &m) {
    uint32_t lane = threadIdx.x % 32, carry = 0;
    int64_t row = threadIdx.x / 32 * m.words;
    for (int64_t at = 0; at < m.words; at += 32) {
        uint32_t mine = at + lane < m.words ? (uint32_t)__popc(m.bit[row + at + lane]) : 0, sum = mine;
        for (int h = 1; h < 32; h *= 2) {
            uint32_t other = __shfl_up_sync(~0u, sum, h);
            sum += lane >= (uint32_t)h ? other : 0;
        }
        if (at + lane < m.words)
            m.below[row + at + lane] = carry + sum - mine;
        carry += __shfl_sync(~0u, sum, 31);
    }
    return carry;
}

/* --- count, lay out, place ------------------------------------------------------------------------------ */

SY_KERNEL(SY_THREADS) count_segments(struct sy_route_sort op) {
    SY_SHARED(uint32_t, shared);
    struct bits m = bits_of(op, shared);
    set_bits(op, m);
    uint32_t count = sum_bits(m);
    int64_t e = m.first + threadIdx.x / 32;
    if (e < op.experts && threadIdx.x % 32 == 0)
        op.offset[e * op.sequences + m.b] = count;
}

/* The sum of v over the threads before; *all: of all. */
static SY_DEV int64_t sum_before(int64_t v, int64_t *all) {
    __shared__ int64_t of_warp[LAY_OUT_THREADS / 32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int64_t sum = v;
    for (int h = 1; h < 32; h *= 2) {
        int64_t other = __shfl_up_sync(~0u, sum, h);
        sum += lane >= h ? other : 0;
    }
    __syncthreads(); /* who read the sums of the call before has done so */
    if (lane == 31)
        of_warp[warp] = sum;
    __syncthreads();
    *all = 0;
    int64_t before = 0;
    for (int k = 0; k < LAY_OUT_THREADS / 32; k++) {
        before += k < warp ? of_warp[k] : 0;
        *all += of_warp[k];
    }
    return before + sum - v;
}

static SY_DEV void lay_out_tiles(const struct sy_route_sort &op) {
    int64_t at = 0, all;
    for (int64_t first = 0; first < op.experts; first += LAY_OUT_THREADS, at += all) {
        int64_t e = first + threadIdx.x, lo = 0, hi = 0;
        if (e < op.experts) {
            lo = op.offset[e * op.sequences];
            hi = op.offset[(e + 1) * op.sequences];
        }
        int64_t tile = at + sum_before((hi - lo + SY_TILE_ROWS - 1) / SY_TILE_ROWS, &all);
        for (int64_t row = lo; row < hi; row += SY_TILE_ROWS)
            op.tile[tile++] = (struct sy_tile){.group = e, .first = row};
    }
    if (threadIdx.x == 0)
        *op.n_tiles = at;
}

SY_KERNEL(LAY_OUT_THREADS) lay_out(struct sy_route_sort op, int64_t segment) {
    int64_t bins = op.experts * op.sequences, at = 0, all;
    for (int64_t first = 0; first < bins; first += LAY_OUT_THREADS, at += all) {
        int64_t i = first + threadIdx.x, count = i < bins ? op.offset[i] : 0;
        int64_t start = at + sum_before(up_to(count, segment), &all);
        if (i < bins)
            op.offset[i] = start;
        if (i < bins && op.count)
            op.count[i] = count;
    }
    if (threadIdx.x == 0)
        op.offset[bins] = at;
    __syncthreads();
    lay_out_tiles(op);
}

SY_KERNEL(SY_THREADS) place_routes(struct sy_route_sort op) {
    SY_SHARED(uint32_t, shared);
    struct bits m = bits_of(op, shared);
    int64_t n = op.seq_len * op.top_k;
    set_bits(op, m);
    uint32_t count = sum_bits(m);
    int64_t mine = m.first + threadIdx.x / 32, bin = mine * op.sequences + m.b;
    if (mine < op.experts) /* padding */
        for (int64_t r = op.offset[bin] + count + threadIdx.x % 32; r < op.offset[bin + 1]; r += 32)
            op.route[r] = -1;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < n; i += SY_THREADS) {
        int64_t e = op.ids[m.b * n + i] - m.first;
        if (e < 0 || e >= EXPERTS)
            continue;
        uint32_t t = (uint32_t)i / (uint32_t)op.top_k, word = (uint32_t)(e * m.words) + t / 32;
        uint32_t rank = m.below[word] + (uint32_t)__popc(m.bit[word] & ((1u << t % 32) - 1u));
        int64_t row = op.offset[(m.first + e) * op.sequences + m.b] + rank;
        op.row[m.b * n + i] = (int32_t)row;
        op.route[row] = (int32_t)(m.b * n + i);
    }
}

extern "C" void sy_cuda_route_sort(const struct sy_exec *x, const struct sy_route_sort *op) {
    dim3 grid(sy_cuda_blocks(op->experts, EXPERTS), (unsigned)op->sequences);
    size_t shared = (size_t)(2 * EXPERTS * ((op->seq_len + 31) / 32)) * sizeof(uint32_t);
    if (op->sequences > 0)
        SY_LAUNCH(x, count_segments, grid, SY_THREADS, shared, *op);
    SY_LAUNCH(x, lay_out, 1, LAY_OUT_THREADS, 0, *op, x->device->segment);
    if (op->sequences > 0)
        SY_LAUNCH(x, place_routes, grid, SY_THREADS, shared, *op);
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
