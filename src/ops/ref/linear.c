/* linear: y = BF(CHAIN(x, w) + bias) for the rows of each group; with SwiGLU behind it whole rows g | u,
 * or, where these are few, columns of g with those of u.
 */
#include "ops/ref/product_kernel.h"
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
    swiglu_fwd_row(x, op, row, 0, op->n / 2, scratch);
}

static void swiglu_columns(const struct sy_exec *x, const void *arg, int64_t row, int64_t j, int64_t n,
                           void *scratch) {
    swiglu_fwd_row(x, arg, row, j, n, scratch);
}

static struct product plain_of(const void *arg, int64_t group, int64_t row, int64_t rows) {
    const struct sy_linear *op = arg;
    struct product p = {.m = rows,
                        .n = op->n,
                        .n_slices = 1,
                        .slice = right,
                        .op = op,
                        .group = group,
                        .row = row,
                        .bias = op->bias,
                        .c = sy_mat_rows(op->y, row)};
    if (op->residual.data)
        p.residual = sy_mat_rows(op->residual, row);
    return p;
}

static struct product swiglu_of(const void *arg, int64_t group, int64_t row, int64_t rows) {
    const struct sy_linear *op = arg;
    struct product p = plain_of(arg, group, row, rows);
    p.after = swiglu;
    p.touched[0] = sy_mat_rows(op->h, row);
    return p;
}

/* Rows as few as these take the time that it takes to read the right-hand side; so few a thread share it. */
enum { READING_ROWS = 5, SHARING_ROWS = 16 };

static int is_cut(const struct sy_exec *x, const struct sy_linear *op) {
    const int64_t rows = rows_used(&op->rows), panel = SY_FN(product_kernel)(x->cls)->nr;
    return rows < (int64_t)SHARING_ROWS * sy_pool_size(x->pool) && op->n / 2 % panel == 0;
}

void SY_FN(linear)(const struct sy_exec *x, const struct sy_linear *op) {
    int64_t rows = op->rows.max_rows < READING_ROWS ? READING_ROWS : op->rows.max_rows;
    int swiglu = op->epilogue == SY_EPILOGUE_SWIGLU, cut = swiglu && is_cut(x, op);
    assert(op->y.col == 1 && op->epilogue != SY_EPILOGUE_SWIGLU_BACK && !op->named.route);
    sy_pool_run(pool_for(x, rows * op->n * op->k / MADDS_A_UNIT), row_products_part,
                &(struct row_products){.x = x,
                                       .rows = &op->rows,
                                       .n = op->n,
                                       .whole = swiglu && !cut,
                                       .half = cut ? op->n / 2 : 0,
                                       .after = swiglu_columns,
                                       .product = swiglu && !cut ? swiglu_of : plain_of,
                                       .op = op});
}
