/* The products for any sizes and strides: chains of mma.sync.m16n8k16, one block a tile of 64 x 64 outputs,
 * each of its four warps 16 rows. Slow beside the TMA family, and the same bits.
 *
 *     slice by slice:  64 of k into shared memory, [row][k] and [column][k], zeros where there is nothing
 *                      four steps of 16: the chain goes on in the warp's accumulators
 *     then             acc + 0.0f, and what the op says
 *
 * A slice's end is padded with zeros to 64, which changes no bit: a step of zeros leaves a chain as it is.
 */
#include "ops/cuda/products.cuh"

namespace {

enum { M = SY_TILE_ROWS, N = 64, K = 64, ROW = K + 8, THREADS = 128 }; /* + 8: no bank conflicts */

/* Element (i, k) of a: i * a_row + k * a_k; (k, j) of b: j * b_col + k * b_k. */
struct slice {
    const uint16_t *a, *b;
    int64_t a_row, a_k, b_col, b_k, k;
    struct sy_named_rows named; /* a's rows i; route NULL: as they stand */
};

struct tiles {
    uint16_t a[M][ROW], b[N][ROW];
};

/* to[i][k] = from(i, k) for i < n, k < k_n, else 0: neighbours in memory are read by neighbours. */
__device__ __forceinline__ void fetch(uint16_t (*to)[ROW], const uint16_t *from, int64_t row, int64_t col,
                                      const struct sy_named_rows &named, int n, int64_t k_n) {
    for (int at = threadIdx.x; at < M * K; at += THREADS) {
        int i = col == 1 ? at / K : at % M, k = col == 1 ? at % K : at / M, there = i < n && k < k_n;
        int64_t r = i;
        if (there && named.route)
            r = named.route[i] < 0 ? -1 : named.route[i] / named.top_k;
        to[i][k] = there && r >= 0 ? from[r * row + k * col] : 0;
    }
}

__device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
                 "{%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* The chain of a slice, m rows and n columns of the tile being there. acc[j]: columns 8 j .. of the warp's
 * rows; [0], [1] in row lane / 4, [2], [3] eight below, columns lane % 4 * 2 and the next. */
__device__ void chain(struct tiles &s, const struct slice &q, int m, int n, float (&acc)[N / 8][4]) {
    int lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4, at = lane % 4 * 2;
    for (int64_t k0 = 0; k0 < q.k; k0 += K) {
        __syncthreads();
        fetch(s.a, q.a + k0 * q.a_k, q.a_row, q.a_k, q.named, m, q.k - k0);
        fetch(s.b, q.b + k0 * q.b_k, q.b_col, q.b_k, {}, n, q.k - k0);
        __syncthreads();
#pragma unroll
        for (int k = 0; k < K; k += 16) {
            uint32_t a[4];
#pragma unroll
            for (int i = 0; i < 4; i++)
                a[i] = *(const uint32_t *)&s.a[row + i % 2 * 8][k + at + i / 2 * 8];
#pragma unroll
            for (int j = 0; j < N / 8; j++) {
                const uint16_t *b = &s.b[j * 8 + lane / 4][k + at];
                mma(acc[j], a, *(const uint32_t *)b, *(const uint32_t *)(b + 8));
            }
        }
    }
}

/* f(row, column, value) for each of the thread's outputs of the tile. */
template <class F> __device__ __forceinline__ void each(const float (&acc)[N / 8][4], int m, int n, F f) {
    int lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4, column = lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < N / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (row + i / 2 * 8 < m && j * 8 + column + i % 2 < n)
                f(row + i / 2 * 8, j * 8 + column + i % 2, acc[j][i]);
}

__device__ __forceinline__ int least(int64_t a, int b) { return a < b ? (int)a : b; }

__device__ __forceinline__ struct slice slice_of(const struct sy_mat &a, int64_t row,
                                                 const struct sy_operand &w, int64_t group, int64_t j0,
                                                 int64_t k) {
    return {(const uint16_t *)a.data + row * a.row,
            (const uint16_t *)w.m.data + group * w.step + j0 * w.m.col,
            a.row,
            a.col,
            w.m.col,
            w.m.row,
            k,
            {}};
}

/* --- linear --------------------------------------------------------------------------------------------- */

__global__ void __launch_bounds__(THREADS) linear(const struct sy_linear op) {
    __shared__ struct tiles s;
    float acc[N / 8][4] = {};
    struct sy_cuda_tile t = sy_cuda_row_tile(op.rows, blockIdx.y);
    int64_t j0 = (int64_t)blockIdx.x * N;
    int n = least(op.n - j0, N);
    if (t.rows <= 0)
        return;
    struct slice q = slice_of(op.x, op.named.route ? 0 : t.first, op.w, t.group, j0, op.k);
    if (op.named.route)
        q.named = {op.named.route + t.first, op.named.top_k};
    chain(s, q, t.rows, n, acc);
    each(acc, t.rows, n, [&](int i, int j, float v) {
        int64_t row = t.first + i, column = j0 + j;
        v = v + 0.0f;
        if (op.bias)
            v = v + op.bias[column];
        if (op.residual.data)
            v = products::get(op.residual, row, column) + products::bf(v);
        products::put(op.y, row, column, v);
    });
}

/* --- linear_dx ------------------------------------------------------------------------------------------ */

__global__ void __launch_bounds__(THREADS) linear_dx(const struct sy_linear_dx op) {
    __shared__ struct tiles s;
    float acc[N / 8][4] = {};
    struct sy_cuda_tile t = sy_cuda_row_tile(op.rows, blockIdx.y);
    int64_t j0 = (int64_t)blockIdx.x * N;
    int n = least(op.n - j0, N);
    if (t.rows <= 0)
        return;
    for (int i = 0; i < op.n_maps; i++)
        chain(s, slice_of(op.map[i].dy, t.first, op.map[i].w, t.group, j0, op.map[i].k), t.rows, n, acc);
    const struct sy_mat c = op.epilogue == SY_EPILOGUE_SWIGLU_BACK ? op.a : op.dx;
    each(acc, t.rows, n, [&](int i, int j, float v) { products::put(c, t.first + i, j0 + j, v + 0.0f); });
}

/* --- linear_dw ------------------------------------------------------------------------------------------ */

struct problem {
    struct sy_dw dw;
    int64_t first; /* tile */
};

__device__ __forceinline__ int is_empty(const struct sy_dw &q, int64_t group) {
    int64_t lo, hi, other;
    if (q.n_segments == 0)
        return 1;
    sy_cuda_segment(q.rows, group, q.first, lo, other);
    sy_cuda_segment(q.rows, group, q.first + q.n_segments - 1, other, hi);
    return lo == hi;
}

__global__ void __launch_bounds__(THREADS) linear_dw(const struct problem *list, int n_problems) {
    __shared__ struct tiles s;
    float acc[N / 8][4];
    int p = 0;
    while (p + 1 < n_problems && list[p + 1].first <= blockIdx.x)
        p++;
    const struct sy_dw q = list[p].dw;
    int64_t tile = blockIdx.x - list[p].first, columns = (q.n + N - 1) / N,
            tiles = (q.m + M - 1) / M * columns;
    int64_t group = tile / tiles, i0 = tile % tiles / columns * M, j0 = tile % columns * N;
    int m = least(q.m - i0, M), n = least(q.n - j0, N);
    const float *start = q.acc ? q.acc + group * q.acc_step : nullptr;
    float *c = q.c + group * q.c_step;
    if ((q.fold || start == c) && is_empty(q, group) && !(q.fold && start))
        return; /* + 0, and nothing that is summed is ever -0 */
    for (int j = 0; j < N / 8; j++)
        for (int i = 0; i < 4; i++)
            acc[j][i] = 0.0f;
    if (start) {
        int lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4, column = lane % 4 * 2;
#pragma unroll
        for (int j = 0; j < N / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (row + i / 2 * 8 < m && j * 8 + column + i % 2 < n)
                    acc[j][i] = start[(i0 + row + i / 2 * 8) * q.n + j0 + j * 8 + column + i % 2];
    }
    for (int64_t g = 0; g < q.n_segments; g++) {
        int64_t lo, hi;
        sy_cuda_segment(q.rows, group, q.first + g, lo, hi);
        chain(s,
              {(const uint16_t *)q.dy.data + lo * q.dy.row + i0 * q.dy.col,
               (const uint16_t *)q.x.data + lo * q.x.row + j0 * q.x.col,
               q.dy.col,
               q.dy.row,
               q.x.col,
               q.x.row,
               hi - lo,
               {}},
              m, n, acc);
    }
    each(acc, m, n, [&](int i, int j, float v) {
        float *to = c + (i0 + i) * q.n + j0 + j;
        *to = q.fold ? *to + (v + 0.0f) : v + 0.0f;
    });
}

} // namespace

void sy_cuda_linear_any(const struct sy_exec *x, const struct sy_linear *op) {
    dim3 grid(sy_cuda_blocks(op->n, N), (unsigned)sy_cuda_max_tiles(&op->rows));
    if (grid.x == 0 || grid.y == 0)
        return;
    linear<<<grid, THREADS, 0, sy_cuda_stream(x)>>>(*op);
    sy_cuda_check_launch(x);
}

void sy_cuda_linear_dx_any(const struct sy_exec *x, const struct sy_linear_dx *op) {
    dim3 grid(sy_cuda_blocks(op->n, N), (unsigned)sy_cuda_max_tiles(&op->rows));
    if (grid.x == 0 || grid.y == 0)
        return;
    linear_dx<<<grid, THREADS, 0, sy_cuda_stream(x)>>>(*op);
    sy_cuda_check_launch(x);
}

/* In lists of a size that needs no memory of the heap's. */
void sy_cuda_linear_dw_any(const struct sy_exec *x, const struct sy_linear_dw *op) {
    enum { MOST = 64 };
    struct problem list[MOST];
    for (int first = 0; first < op->n_problems; first += MOST) {
        int n = op->n_problems - first < MOST ? op->n_problems - first : MOST;
        int64_t tiles = 0;
        for (int i = 0; i < n; i++) {
            const struct sy_dw *q = &op->problem[first + i];
            list[i].dw = *q;
            list[i].first = tiles;
            tiles += q->rows.groups * ((q->m + M - 1) / M) * ((q->n + N - 1) / N);
        }
        if (tiles == 0)
            continue;
        const struct problem *there = sy_cuda_upload(x, list, (size_t)n);
        linear_dw<<<(unsigned)tiles, THREADS, 0, sy_cuda_stream(x)>>>(there, n);
        sy_cuda_check_launch(x);
    }
}
