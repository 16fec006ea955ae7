/* Routes compared and counted: a route takes a word or two to read, and the answer is one of all of them. One
 * block does it where that answer needs all. */
#include "ops/cuda/values.cuh"

enum { THREADS = 1024, COUNTERS = 256, TOGETHER = 8 }; /* routes of a thread that are loaded together */

/* --- the lowest token whose recompute took other routes ------------------------------------------------- */

/* Of equal keys, which are one token's, the lower route. */
static SY_DEV void keep_lower(uint64_t *key, uint64_t *route, uint64_t other_key, uint64_t other_route) {
    if (other_key < *key || (other_key == *key && other_route < *route)) {
        *key = other_key;
        *route = other_route;
    }
}

static SY_DEV void lowest_of_warp(uint64_t *key, uint64_t *route) {
    for (int h = 16; h >= 1; h /= 2) {
        uint64_t k = __shfl_xor_sync(~0u, *key, h), r = __shfl_xor_sync(~0u, *route, h);
        keep_lower(key, route, k, r);
    }
}

/* Not 0 if route i is another now. */
static SY_DEV uint32_t differs(const struct sy_routes_equal &op, int64_t i) {
    return (uint32_t)(op.was_ids[i] ^ op.ids[i]) | (sy_f32_bits(op.was_w[i]) ^ sy_f32_bits(op.w[i]));
}

SY_KERNEL(THREADS) compare_routes(struct sy_routes_equal op) {
    __shared__ uint64_t keys[THREADS / 32], routes[THREADS / 32];
    uint64_t key = UINT64_MAX, route = UINT64_MAX; /* none */
    int64_t n = op.tokens * op.top_k;
    for (int64_t at = threadIdx.x; at < n; at += TOGETHER * THREADS) {
        uint32_t other[TOGETHER];
#pragma unroll
        for (int k = 0; k < TOGETHER; k++)
            other[k] = at + k * THREADS < n ? differs(op, at + k * THREADS) : 0;
#pragma unroll
        for (int k = 0; k < TOGETHER; k++)
            if (other[k]) {
                int64_t i = at + k * THREADS;
                int64_t name = sy_token_key(op.place, i / op.top_k, op.seq_len, op.layer, op.layers);
                keep_lower(&key, &route, (uint64_t)name, (uint64_t)i);
            }
    }
    lowest_of_warp(&key, &route);
    if (threadIdx.x % 32 == 0) {
        keys[threadIdx.x / 32] = key;
        routes[threadIdx.x / 32] = route;
    }
    __syncthreads();
    if (threadIdx.x >= 32)
        return;
    key = keys[threadIdx.x];
    route = routes[threadIdx.x];
    lowest_of_warp(&key, &route);
    if (threadIdx.x != 0 || key >= (uint64_t)op.changed[0]) /* -1, none, is the largest */
        return;
    op.changed[0] = (int64_t)key;
    op.changed[1] = op.was_ids[route];
    op.changed[2] = op.ids[route];
}

extern "C" void sy_cuda_routes_equal(const struct sy_exec *x, const struct sy_routes_equal *op) {
    if (op->tokens > 0)
        SY_LAUNCH(x, compare_routes, 1, THREADS, 0, *op);
}

/* --- counts[e] += routes to e --------------------------------------------------------------------------- */

SY_KERNEL(THREADS) count_all(struct sy_count_routes op) {
    SY_SHARED(int, count);
    int64_t n = op.tokens * op.top_k, each = TOGETHER * (int64_t)blockDim.x;
    for (int64_t e = threadIdx.x; e < op.experts; e += blockDim.x)
        count[e] = 0;
    __syncthreads();
    for (int64_t at = blockIdx.x * each + threadIdx.x; at < n; at += gridDim.x * each) {
        int32_t id[TOGETHER];
#pragma unroll
        for (int k = 0; k < TOGETHER; k++)
            id[k] = at + k * blockDim.x < n ? op.ids[at + k * blockDim.x] : -1;
#pragma unroll
        for (int k = 0; k < TOGETHER; k++)
            if (id[k] >= 0)
                atomicAdd(&count[id[k]], 1);
    }
    __syncthreads();
    int unequal = n == 0;
    for (int64_t e = threadIdx.x; e < op.experts; e += blockDim.x) {
        unequal |= count[e] * op.experts != n;
        if (op.counts)
            sy_add_i64(&op.counts[e], count[e]);
    }
    unequal = __syncthreads_or(unequal);
    if (threadIdx.x == 0 && op.equal)
        *op.equal += !unequal;
}

/* Many small blocks, each of which reads its ids at once; one large block where all counts are compared. */
extern "C" void sy_cuda_count_routes(const struct sy_exec *x, const struct sy_count_routes *op) {
    int64_t n = op->tokens * op->top_k;
    unsigned threads = op->equal ? THREADS : COUNTERS,
             blocks = op->equal || n == 0 ? 1 : sy_cuda_blocks(n, TOGETHER * COUNTERS);
    SY_LAUNCH(x, count_all, blocks, threads, (size_t)op->experts * sizeof(int), *op);
}
