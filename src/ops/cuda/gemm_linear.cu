// linear and linear_dx by the TMA product, where the operands allow it: 1; else 0, and nothing was done.
#include "ops/cuda/gemm_launch.cuh"
#include "ops/cuda/products.cuh"

using namespace gemm;

// y is stored by TMA if nothing but rounding is to be done. It stores 16 bytes at a time: the last ones of a
// row must not lie beyond its columns.
static int is_plain(const struct sy_linear *op) {
    return addressable(op->y) && op->n % 8 == 0 && !op->bias && !op->residual.data;
}

// The same of what is added to it.
static int is_added(const struct sy_linear *op) {
    return addressable(op->y) && op->n % 8 == 0 && !op->bias && addressable(op->residual);
}

static int is_direct(const struct sy_linear *op) {
    return op->y.col == 1 && (uintptr_t)op->y.data % 8 == 0 &&
           (!op->residual.data || (op->residual.col == 1 && op->residual.dtype == SY_BF16));
}

// The same of fp32.
static int is_plain_f32(const struct sy_linear *op) {
    return op->y.dtype == SY_F32 && op->y.col == 1 && op->n % 4 == 0 && !op->bias && !op->residual.data &&
           addressable_f32((const float *)op->y.data, op->y.row, 0);
}

static args args_of(const struct sy_rows &rows, int64_t n, int columns, int band) {
    args p = {};
    p.rows = rows;
    p.n = (int)n;
    p.n_tiles = gemm::blocks(n, columns);
    p.band = band;
    p.n_maps = 1;
    return p;
}

static named by_name(const struct sy_linear *op) {
    return {(const char *)op->x.data, op->named.route, op->x.row * 2, (int)op->named.top_k, (int)op->k};
}

/* Half of a tile's columns are g's and half u's. */
static int gated(const struct sy_exec *x, const struct sy_linear *op, maps &m) {
    int64_t f = op->n / 2, groups = op->rows.groups;
    sy_tile_size tile = tile_for(x, SY_PRODUCT_nt_swiglu, op->rows.max_rows, op->n, op->k, groups);
    struct sy_operand u = op->w;
    if (layout_of(op->w, groups) != NT || f % 8 || !is_plain(op) || !addressable(op->h))
        return 0;
    u.m.data = sy_at(u.m.data, u.m.dtype, f * u.m.col);
    m.b[0] = right(x, NT, op->w, op->k, f, groups, tile.columns);
    m.b[1] = right(x, NT, u, op->k, f, groups, tile.columns);
    m.c[0] = result(x, op->y, f, op->rows.max_rows);
    m.c[1] = result(x, sy_mat_cols(op->y, f), f, op->rows.max_rows);
    m.c[2] = result(x, op->h, f, op->rows.max_rows);
    args p = args_of(op->rows, f, tile.columns / 2, tile.band);
    p.blocks[0] = gemm::blocks(op->k, BK);
    p.by_name = by_name(op);
    launch<NT, SWIGLU, SY_LEAST_nt_swiglu>(x, "linear", m, p, tiles_of(p), tile.columns);
    return 1;
}

/* From registers if not plain. */
static void store(const struct sy_exec *x, const char *op, int layout, int plain, const maps &m,
                  const args &p, int columns) {
    if (plain)
        (layout == NT ? nt_store : nn_store)(x, op, m, p, columns);
    else
        (layout == NT ? nt_direct : nn_direct)(x, op, m, p);
}

int sy_cuda_linear_gemm(const struct sy_exec *x, const struct sy_linear *op) {
    int layout = layout_of(op->w, op->rows.groups);
    maps m = {};
    if (!rows_fit(op->rows) || layout < 0 || !addressable(op->x) || op->k == 0 || op->n < 2)
        return 0;
    m.a[0] = operand(x, op->x, BM, op->k, op->rows.max_rows, 1, 0);
    if (op->epilogue == SY_EPILOGUE_SWIGLU)
        return gated(x, op, m);
    int plain = is_plain(op), added = layout == NT && is_added(op);
    if ((!plain && !added && !is_direct(op)) || (op->named.route && (!plain || layout != NT)))
        return 0;
    int f32 = layout == NT && is_plain_f32(op);
    sy_tile_size tile = WHOLE;
    if (f32 || added || plain)
        tile = tile_for(x,
                        f32            ? SY_PRODUCT_nt_f32
                        : added        ? SY_PRODUCT_nt_add
                        : layout == NT ? SY_PRODUCT_nt
                                       : SY_PRODUCT_nn,
                        op->rows.max_rows, op->n, op->k, op->rows.groups);
    m.b[0] = right(x, layout, op->w, op->k, op->n, op->rows.groups, tile.columns);
    if (plain || added)
        m.c[0] = result(x, op->y, op->n, op->rows.max_rows);
    args p = args_of(op->rows, op->n, tile.columns, tile.band);
    p.blocks[0] = gemm::blocks(op->k, BK);
    p.by_name = by_name(op);
    p.y = op->y;
    p.bias = op->bias;
    p.residual = op->residual;
    if (f32) {
        m.c[0] = fp32(x, (const float *)op->y.data, op->n, op->rows.max_rows, op->y.row, 1, 0, 16);
        nt_store_f32(x, "linear", m, p, tile.columns);
    } else if (added) {
        m.tail[0] = operand(x, op->residual, BM, op->n, op->rows.max_rows, 1, 0);
        nt_add(x, "linear", m, p, tile.columns);
    } else {
        store(x, "linear", layout, plain, m, p, tile.columns);
    }
    return 1;
}

int sy_cuda_linear_dx_gemm(const struct sy_exec *x, const struct sy_linear_dx *op) {
    const struct sy_mat y = op->epilogue == SY_EPILOGUE_SWIGLU_BACK ? op->a : op->dx;
    int layout = layout_of(op->map[0].w, op->rows.groups), plain = addressable(y) && op->n % 8 == 0;
    maps m = {};
    int64_t k = 0;
    for (int i = 0; i < op->n_maps; i++)
        k += op->map[i].k;
    if (!rows_fit(op->rows) || layout < 0 || y.col != 1 || (uintptr_t)y.data % 8 || op->n < 1)
        return 0;
    sy_tile_size tile = plain ? tile_for(x, layout == NT ? SY_PRODUCT_nt : SY_PRODUCT_nn, op->rows.max_rows,
                                         op->n, k, op->rows.groups)
                              : WHOLE;
    args p = args_of(op->rows, op->n, tile.columns, tile.band);
    for (int i = 0; i < op->n_maps; i++) {
        const struct sy_dx_map *q = &op->map[i];
        if (layout_of(q->w, op->rows.groups) != layout || !addressable(q->dy) || q->k == 0)
            return 0;
        m.a[i] = operand(x, q->dy, BM, q->k, op->rows.max_rows, 1, 0);
        m.b[i] = right(x, layout, q->w, q->k, op->n, op->rows.groups, tile.columns);
        p.blocks[i] = gemm::blocks(q->k, BK);
    }
    p.n_maps = op->n_maps;
    p.y = y;
    if (plain)
        m.c[0] = result(x, y, op->n, op->rows.max_rows);
    store(x, "linear_dx", layout, plain, m, p, tile.columns);
    return 1;
}
