// Host side of the products' kernel: which calls it is for, tensor maps, launches.
#ifndef SY_OPS_CUDA_GEMM_LAUNCH_CUH
#define SY_OPS_CUDA_GEMM_LAUNCH_CUH

#include "ops/cuda/gemm.cuh"
#include "ops/cuda/tensor_map.cuh"
#include "ops/tiles.h"

namespace gemm {

// What TMA can address: rows of bf16 that begin at multiples of 16 bytes.
static inline int addressable(const struct sy_mat &m) {
    return m.dtype == SY_BF16 && m.col == 1 && m.row % 8 == 0 && (uintptr_t)m.data % 16 == 0;
}

static inline int rows_fit(const struct sy_rows &r) {
    return r.groups <= MAX_GROUPS && r.max_rows > 0 && r.max_rows < INT32_MAX / 2 &&
           (r.offset || r.groups == 1);
}

// NT if a right-hand side [k, n] lies by columns, NN if by rows, else -1.
static inline int layout_of(const struct sy_operand &w, int64_t groups) {
    if (groups > 1 && w.step % 8)
        return -1;
    return addressable(sy_mat_t(w.m)) ? NT : addressable(w.m) ? NN : -1;
}

// Boxes: operands 64 values along a row of 128 bytes, of so many rows; MN-major 64 values of k.
enum { MN_MAJOR = 64 };
static inline CUtensorMap operand(const struct sy_exec *x, const struct sy_mat &m, int rows, int64_t inner,
                                  int64_t outer, int64_t groups, int64_t step) {
    struct sy_tensor t = {
        m.data, 3, {inner, outer, groups}, {1, m.row, groups > 1 ? step : 8}, {64, rows, 1}};
    return sy_cuda_tensor_map(x, t);
}

// B for tiles of so many columns: its halves are boxes.
static inline CUtensorMap right(const struct sy_exec *x, int layout, const struct sy_operand &w, int64_t k,
                                int64_t n, int64_t groups, int columns) {
    return layout == NT ? operand(x, sy_mat_t(w.m), columns / 2, k, n, groups, w.step)
                        : operand(x, w.m, MN_MAJOR, n, k, groups, w.step);
}

static inline CUtensorMap result(const struct sy_exec *x, const struct sy_mat &m, int64_t columns,
                                 int64_t rows) {
    struct sy_tensor t = {m.data, 2, {columns, rows}, {1, m.row}, {64, 16}};
    return sy_cuda_tensor_map(x, t);
}

// What TMA can address of fp32.
static inline int addressable_f32(const float *p, int64_t row, int64_t step) {
    return (uintptr_t)p % 16 == 0 && row % 4 == 0 && step % 4 == 0;
}
// Boxes of 32 columns by so many rows; of one group step is of no use.
static inline CUtensorMap fp32(const struct sy_exec *x, const float *p, int64_t columns, int64_t rows,
                               int64_t row, int64_t groups, int64_t step, int box_rows) {
    struct sy_tensor t = {p, 3, {columns, rows, groups}, {1, row, groups > 1 ? step : 4}, {32, box_rows, 1},
                          1};
    return sy_cuda_tensor_map(x, t);
}

static inline int blocks(int64_t n, int64_t block) { return (int)((n + block - 1) / block); }

static const sy_tile_size WHOLE = {256, SY_TILE_BAND}; // of a product that has no other
static inline sy_tile_size tile_for(const struct sy_exec *x, enum sy_product product, int64_t m, int64_t n,
                                    int64_t k, int64_t groups) {
    struct sy_product_shape shape = {product, m, n, k, groups};
    return sy_tile_choose(x->tuning, sy_cuda_multiprocessors(x), &shape);
}

// tiles: a bound.
template <int LAYOUT, int EPI, int BN>
static inline void launch_of(const struct sy_exec *x, const char *op, const maps &m, const args &p,
                             int64_t tiles) {
    int most = sy_cuda_multiprocessors(x) / 2 * 2;
    int grid = tiles < most ? (int)(tiles + 1) / 2 * 2 : most;
    sy_allow_shared(x, (const void *)kernel<LAYOUT, EPI, BN>, sizeof(shared<BN>));
    kernel<LAYOUT, EPI, BN><<<grid, THREADS, sizeof(shared<BN>), sy_cuda_stream(x)>>>(m, p);
    sy_cuda_launched(x->device, op);
}

// By tiles of so many columns, LEAST at least.
template <int LAYOUT, int EPI, int LEAST>
static inline void launch(const struct sy_exec *x, const char *op, const maps &m, const args &p,
                          int64_t tiles, int columns) {
    if constexpr (LEAST < 256)
        if (columns < 2 * LEAST)
            return launch_of<LAYOUT, EPI, LEAST>(x, op, m, p, tiles);
    if constexpr (LEAST < 128)
        if (columns < 256)
            return launch_of<LAYOUT, EPI, 128>(x, op, m, p, tiles);
    launch_of<LAYOUT, EPI, 256>(x, op, m, p, tiles);
}

// A bound of the tiles of NT and NN.
static inline int64_t tiles_of(const args &p) { return (p.rows.max_rows / BM + p.rows.groups) * p.n_tiles; }

// The kernels that linear and linear_dx share, each in a file of its own.
void nt_store(const struct sy_exec *x, const char *op, const maps &m, const args &p, int columns);
void nn_store(const struct sy_exec *x, const char *op, const maps &m, const args &p, int columns);
void nt_store_f32(const struct sy_exec *x, const char *op, const maps &m, const args &p, int columns);
void nt_add(const struct sy_exec *x, const char *op, const maps &m, const args &p, int columns);
void nt_direct(const struct sy_exec *x, const char *op, const maps &m, const args &p);
void nn_direct(const struct sy_exec *x, const char *op, const maps &m, const args &p);

// Of linear_dw, from an accumulator.
void tn_leaf_on(const struct sy_exec *x, const maps &m, const args &p, int64_t tiles);
void tn_fold_on(const struct sy_exec *x, const maps &m, const args &p, int64_t tiles);

} // namespace gemm

#endif
