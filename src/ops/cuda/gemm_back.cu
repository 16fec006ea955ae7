// linear_dx with SwiGLU back in the product's epilogue, where the operands allow it: 1; else 0, and nothing
// was done.
#include "ops/cuda/gemm_launch.cuh"
#include "ops/cuda/products.cuh"

using namespace gemm;

namespace {

enum { DW_THREADS = 256 };

// dw = the blocks' sums, ascending (B64); a thread a row.
__global__ void dw_of_blocks(const struct sy_rows rows, const float *block, int n_blocks, float *dw) {
    int64_t n = sy_cuda_rows(rows), row = (int64_t)blockIdx.x * DW_THREADS + threadIdx.x;
    float sum = 0.0f;
    if (row >= n)
        return;
    for (int i = 0; i < n_blocks; i++)
        sum = __fadd_rn(sum, block[i * rows.max_rows + row]);
    dw[row] = sum;
}

int fits(const struct sy_linear_dx *op) {
    int64_t f = op->n;
    int whole = f % 8 == 0 && op->a.dtype == SY_F32 && op->a.col == 1 && op->a.row >= f;
    return whole && rows_fit(op->rows) && addressable(op->gu) && addressable(op->dgu) && addressable(op->hw);
}

} // namespace

int sy_cuda_linear_dx_back_gemm(const struct sy_exec *x, const struct sy_linear_dx *op) {
    int64_t f = op->n, rows = op->rows.max_rows, groups = op->rows.groups, k = 0;
    maps m = {};
    args p = {};
    if (!fits(op))
        return 0;
    p.rows = op->rows;
    p.n = (int)f;
    for (int i = 0; i < op->n_maps; i++)
        k += op->map[i].k;
    sy_tile_size tile = tile_for(x, SY_PRODUCT_nn_swiglu_back, rows, f, k, groups);
    p.n_tiles = gemm::blocks(f, tile.columns);
    p.band = tile.band;
    p.n_maps = op->n_maps;
    for (int i = 0; i < op->n_maps; i++) {
        const struct sy_dx_map *q = &op->map[i];
        if (layout_of(q->w, groups) != NN || !addressable(q->dy) || q->k == 0)
            return 0;
        m.a[i] = operand(x, q->dy, BM, q->k, rows, 1, 0);
        m.b[i] = right(x, NN, q->w, q->k, f, groups, tile.columns);
        p.blocks[i] = gemm::blocks(q->k, BK);
    }
    m.tail[0] = operand(x, op->gu, BM, f, rows, 1, 0);
    m.tail[1] = operand(x, sy_mat_cols(op->gu, f), BM, f, rows, 1, 0);
    m.c[0] = result(x, op->dgu, f, rows);
    m.c[1] = result(x, sy_mat_cols(op->dgu, f), f, rows);
    m.c[2] = result(x, op->hw, f, rows);
    p.w = op->w;
    p.block = op->dw ? (float *)op->a.data : nullptr; // a' itself is nowhere
    launch<NN, SWIGLU_BACK, SY_LEAST_nn_swiglu_back>(x, "linear_dx", m, p, tiles_of(p), tile.columns);
    if (op->dw) {
        dw_of_blocks<<<sy_cuda_blocks(rows, DW_THREADS), DW_THREADS, 0, sy_cuda_stream(x)>>>(
            op->rows, p.block, gemm::blocks(f, 128), op->dw);
        sy_cuda_launched(x->device, "linear_dx");
    }
    return 1;
}
