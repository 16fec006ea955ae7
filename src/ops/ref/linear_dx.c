/* linear_dx: dx = BF(CHAIN over the outputs of all maps). With SwiGLU's backward behind it a thread takes all
 * columns of a tile of rows: a' of these rows stays in its scratch (in the workspace where it has no room), and
 * goes from there to dgu, hw and dw. */
#include "ops/ref/products.h"
#include "ops/ref/protos.h"
#include "ops/ref/swiglu.h"

static struct k_slice map_of(const struct product *p, int64_t i) {
    const struct sy_linear_dx *op = p->op;
    const struct sy_dx_map *m = &op->map[i];
    return (struct k_slice){sy_mat_rows(m->dy, p->row), operand_of(&m->w, p->group),
                            packed_of(&m->w, p->group), m->k};
}

static void swiglu_back_row(const struct sy_exec *x, const void *op, int64_t row, const void *a,
                            void *scratch) {
    swiglu_bwd_row(x, op, row, a, scratch);
}

static struct product product_of(const void *arg, int64_t group, int64_t row, int64_t rows) {
    const struct sy_linear_dx *op = arg;
    int back = op->epilogue == SY_EPILOGUE_SWIGLU_BACK;
    struct product p = {.m = rows,
                        .n = op->n,
                        .n_slices = op->n_maps,
                        .slice = map_of,
                        .op = op,
                        .group = group,
                        .row = row,
                        .c = sy_mat_rows(back ? op->a : op->dx, row),
                        .after = back ? swiglu_back_row : NULL,
                        .passing = back};
    if (back) {
        p.touched[0] = sy_mat_rows(op->gu, row);
        p.touched[1] = sy_mat_rows(op->dgu, row);
        p.touched[2] = sy_mat_rows(op->hw, row);
    }
    return p;
}

void SY_FN(linear_dx)(const struct sy_exec *x, const struct sy_linear_dx *op) {
    int64_t k = 0;
    assert(op->n_maps >= 1 && op->n_maps <= SY_DX_MAPS && op->epilogue != SY_EPILOGUE_SWIGLU);
    for (int i = 0; i < op->n_maps; i++)
        k += op->map[i].k;
    sy_pool_run(pool_for(x, op->rows.max_rows * op->n * k / MADDS_A_UNIT), row_products_part,
                &(struct row_products){.x = x,
                                       .rows = &op->rows,
                                       .n = op->n,
                                       .whole = op->epilogue == SY_EPILOGUE_SWIGLU_BACK,
                                       .product = product_of,
                                       .op = op});
}
