/* The products' two families, and what stands behind either: which tile of rows is whose, SwiGLU on rows that
 * are stored. products.cu chooses.
 *
 *     gemm   TMA and wgmma (gemm.cuh): rows of bf16 at multiples of 16 bytes, segments of whole blocks of 16 rows
 *     any    chains of mma.sync, strides and sizes as they come (product_any.cu)
 */
#ifndef SY_OPS_CUDA_PRODUCTS_CUH
#define SY_OPS_CUDA_PRODUCTS_CUH

#include "ops/cuda/cuda.cuh"
#include "ops/cuda/ptx.cuh"

void sy_cuda_linear_any(const struct sy_exec *x, const struct sy_linear *op);
void sy_cuda_linear_dx_any(const struct sy_exec *x, const struct sy_linear_dx *op);
void sy_cuda_linear_dw_any(const struct sy_exec *x, const struct sy_linear_dw *op);

/* 1: done; 0: nothing was, as the call is not for this family. */
int sy_cuda_linear_gemm(const struct sy_exec *x, const struct sy_linear *op);
int sy_cuda_linear_dx_gemm(const struct sy_exec *x, const struct sy_linear_dx *op);
int sy_cuda_linear_dx_back_gemm(const struct sy_exec *x, const struct sy_linear_dx *op); // with SwiGLU back
int sy_cuda_linear_dw_gemm(const struct sy_exec *x, const struct sy_dw *problem);
/* How many of the n, from the first on, one launch did. */
int sy_cuda_linear_dw_list(const struct sy_exec *x, const struct sy_dw *problem, int n);

/* h of the rows y = g | u; dgu, hw and dw of the rows gu, a. */
void sy_cuda_swiglu_rows(const struct sy_exec *x, const struct sy_linear *op);
void sy_cuda_swiglu_back_rows(const struct sy_exec *x, const struct sy_linear_dx *op);

/* Tiles of rows: at most this many. */
static inline int64_t sy_cuda_max_tiles(const struct sy_rows *r) {
    return r->offset ? r->max_rows / SY_TILE_ROWS + r->groups
                     : (r->max_rows + SY_TILE_ROWS - 1) / SY_TILE_ROWS;
}

struct sy_cuda_tile {
    int64_t group, first; /* of all rows */
    int rows;             /* 0: there is no such tile */
};

static __device__ __forceinline__ struct sy_cuda_tile sy_cuda_row_tile(const struct sy_rows &r, int64_t t) {
    struct sy_cuda_tile tile = {0, t * SY_TILE_ROWS, 0};
    int64_t end = r.max_rows;
    if (r.offset) {
        if (t >= *r.n_tiles)
            return tile;
        tile.group = r.tile[t].group;
        tile.first = r.tile[t].first;
        end = r.offset[(tile.group + 1) * r.sequences];
    }
    tile.rows = (int)(end - tile.first < SY_TILE_ROWS ? end - tile.first : SY_TILE_ROWS);
    return tile;
}

/* Rows lo .. hi - 1 of segment s of group g. */
static __device__ __forceinline__ void sy_cuda_segment(const struct sy_rows &r, int64_t g, int64_t s,
                                                       int64_t &lo, int64_t &hi) {
    int64_t each = r.offset ? 0 : r.max_rows / r.sequences;
    lo = r.offset ? r.offset[g * r.sequences + s] : s * each;
    hi = r.offset ? r.offset[g * r.sequences + s + 1] : lo + each;
}

/* --- elements of a matrix, widened and rounded ---------------------------------------------------------- */

namespace products {

SY_DEV float widen(uint16_t b) { return __uint_as_float((uint32_t)b << 16); }
SY_DEV uint16_t narrow(float v) { return (uint16_t)ptx::bf16_pair(v, 0.0f); }
SY_DEV float bf(float v) { return widen(narrow(v)); }

SY_DEV float get(const struct sy_mat &m, int64_t i, int64_t j) {
    int64_t at = i * m.row + j * m.col;
    return m.dtype == SY_F32 ? ((const float *)m.data)[at] : widen(((const uint16_t *)m.data)[at]);
}

SY_DEV void put(const struct sy_mat &m, int64_t i, int64_t j, float v) {
    int64_t at = i * m.row + j * m.col;
    if (m.dtype == SY_F32)
        ((float *)m.data)[at] = v;
    else
        ((uint16_t *)m.data)[at] = narrow(v);
}

} // namespace products

#endif
