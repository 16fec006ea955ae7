/* linear: y = BF(CHAIN(x, w) + bias) for the rows of each group; with SwiGLU behind it whole rows g | u. */
#include "ops/ref/products.h"
#include "ops/ref/protos.h"
#include "ops/ref/swiglu.h"

static struct k_slice right(const struct product *p, int64_t i) {
    const struct sy_linear *op = p->op;
    (void)i;
    return (struct k_slice){sy_mat_rows(op->x, p->row), operand_of(&op->w, p->group),
                            packed_of(&op->w, p->group), op->k};
}

static void swiglu(const struct sy_exec *x, const void *arg, int64_t row, const void *gu, void *scratch) {
    const struct sy_linear *op = arg;
    (void)gu;
    swiglu_fwd_row(x, op->n / 2, op->y, op->h, row, scratch);
}

static struct product product_of(const void *arg, int64_t group, int64_t row, int64_t rows) {
    const struct sy_linear *op = arg;
    struct product p = {.m = rows,
                        .n = op->n,
                        .n_slices = 1,
                        .slice = right,
                        .op = op,
                        .group = group,
                        .row = row,
                        .bias = op->bias,
                        .c = sy_mat_rows(op->y, row),
                        .after = op->epilogue == SY_EPILOGUE_SWIGLU ? swiglu : NULL};
    if (p.after)
        p.touched[0] = sy_mat_rows(op->h, row);
    if (op->residual.data)
        p.residual = sy_mat_rows(op->residual, row);
    return p;
}

void SY_FN(linear)(const struct sy_exec *x, const struct sy_linear *op) {
    assert(op->y.col == 1 && op->epilogue != SY_EPILOGUE_SWIGLU_BACK);
    sy_pool_run(pool_for(x, op->rows.max_rows * op->n * op->k / MADDS_A_UNIT), row_products_part,
                &(struct row_products){.x = x,
                                       .rows = &op->rows,
                                       .n = op->n,
                                       .whole = op->epilogue == SY_EPILOGUE_SWIGLU,
                                       .product = product_of,
                                       .op = op});
}
