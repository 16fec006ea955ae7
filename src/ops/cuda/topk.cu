/* Deterministic top-k of each row, a block a row: k times the best key below the last one. Keys are distinct
 * (sy_order_at), so that no ties are left. smallest: of the negated values. */
#include "ops/cuda/values.cuh"

static SY_DEV uint64_t key_of(const struct sy_topk &op, const float *row, int64_t i) {
    return sy_order_at(sy_order(op.smallest ? -row[i] : row[i]), (uint32_t)i);
}

/* The best key of all threads; all call. */
static SY_DEV uint64_t best_of_block(uint64_t key) {
    __shared__ uint64_t of_warp[SY_THREADS / 32];
    key = sy_best_of_warp(key);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        of_warp[threadIdx.x / 32] = key;
    __syncthreads();
    for (int w = 0; w < SY_THREADS / 32; w++)
        key = of_warp[w] > key ? of_warp[w] : key;
    return key;
}

/* The chosen by ascending index: those not below `last`. */
static SY_DEV void place_in_order(const struct sy_topk &op, const float *row, uint64_t last, int32_t *ids) {
    int64_t at = 0;
    for (int64_t first = 0; first < op.n; first += SY_THREADS) {
        __shared__ unsigned ballots[SY_THREADS / 32];
        int64_t i = first + threadIdx.x;
        int hit = i < op.n && key_of(op, row, i) >= last, warp = threadIdx.x / 32;
        unsigned ballot = __ballot_sync(~0u, hit);
        if (threadIdx.x % 32 == 0)
            ballots[warp] = ballot;
        __syncthreads();
        int before = __popc(ballot & ((1u << threadIdx.x % 32) - 1u)), all = 0;
        for (int w = 0; w < SY_THREADS / 32; w++) {
            before += w < warp ? __popc(ballots[w]) : 0;
            all += __popc(ballots[w]);
        }
        if (hit)
            ids[at + before] = (int32_t)i;
        at += all;
        __syncthreads();
    }
}

SY_KERNEL(SY_THREADS) choose_rows(struct sy_topk op) {
    int64_t r = blockIdx.x;
    const float *row = op.x + r * op.n;
    int32_t *ids = op.ids + r * op.k;
    int nan = 0;
    for (int64_t i = threadIdx.x; i < op.n; i += SY_THREADS)
        nan |= row[i] != row[i];
    if (__syncthreads_or(nan)) { /* reported: in range and defined */
        if (threadIdx.x == 0)
            sy_lower_i64(op.bad_row, r);
        for (int64_t j = threadIdx.x; j < op.k; j += SY_THREADS)
            ids[j] = (int32_t)j;
    } else {
        uint64_t last = UINT64_MAX;
        for (int64_t j = 0; j < op.k; j++) {
            uint64_t best = 0;
            for (int64_t i = threadIdx.x; i < op.n; i += SY_THREADS) {
                uint64_t key = key_of(op, row, i);
                best = key < last && key > best ? key : best;
            }
            last = best_of_block(best);
            if (threadIdx.x == 0 && op.sorted)
                ids[j] = (int32_t)sy_order_index(last);
        }
        if (!op.sorted)
            place_in_order(op, row, last, ids);
    }
    __syncthreads();
    for (int64_t j = threadIdx.x; op.values && j < op.k; j += SY_THREADS)
        op.values[r * op.k + j] = row[ids[j]];
}

SY_KERNEL(32) no_bad_row(int64_t *bad_row) { *bad_row = -1; }

extern "C" void sy_cuda_topk(const struct sy_exec *x, const struct sy_topk *op) {
    SY_LAUNCH(x, no_bad_row, 1, 32, 0, op->bad_row);
    if (op->rows > 0)
        SY_LAUNCH(x, choose_rows, (unsigned)op->rows, SY_THREADS, 0, *op);
}

/* --- dx[r, ids[r, j]] = dvalues[r, j], +0 elsewhere ----------------------------------------------------- */

SY_KERNEL(SY_THREADS) place_rows(struct sy_topk_bwd op) {
    int64_t r = blockIdx.x;
    for (int64_t i = threadIdx.x; i < op.n; i += SY_THREADS)
        op.dx[r * op.n + i] = 0.0f;
    __syncthreads();
    for (int64_t j = r * op.k + threadIdx.x; j < (r + 1) * op.k; j += SY_THREADS)
        op.dx[r * op.n + op.ids[j]] = op.dvalues[j];
}

extern "C" void sy_cuda_topk_bwd(const struct sy_exec *x, const struct sy_topk_bwd *op) {
    if (op->rows > 0)
        SY_LAUNCH(x, place_rows, (unsigned)op->rows, SY_THREADS, 0, *op);
}
