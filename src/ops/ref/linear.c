/* linear: y = BF(CHAIN(x, w) + bias) for the rows of each group, tiles of rows x columns dealt to the threads in turn. With
 * SwiGLU behind it a thread takes all columns of a tile of rows, whose g | u are then still in its cache. */
#include "ops/ref/products.h"
#include "ops/ref/protos.h"
#include "ops/ref/swiglu.h"

struct work {
    const struct sy_exec *x;
    const struct sy_linear *op;
};

static struct k_slice right(const struct product *p, int64_t i) {
    const struct sy_linear *op = p->op;
    (void)i;
    return (struct k_slice){
        sy_mat_rows(op->x, p->row), operand_of(&op->w, p->group), packed_of(&op->w, p->group), op->k};
}

static struct product product_of(const struct sy_linear *op, const struct row_tile *t) {
    struct product p = {.m = t->rows,
                        .n = op->n,
                        .n_slices = 1,
                        .slice = right,
                        .op = op,
                        .group = t->group,
                        .row = t->first,
                        .bias = op->bias,
                        .c = sy_mat_rows(op->y, t->first)};
    if (op->residual.data)
        p.residual = sy_mat_rows(op->residual, t->first);
    return p;
}

static void rows_part(const struct work *w, int thread, int n_threads) {
    const struct sy_linear *op = w->op;
    int64_t tiles = tiles_of(&op->rows);
    for (int64_t i = thread; i < tiles; i += n_threads) {
        struct row_tile t = row_tile(&op->rows, i);
        struct product p = product_of(op, &t);
        float *scratch = sy_exec_scratch(w->x, thread);
        product_rows(w->x, &p, 0, t.rows, scratch);
        for (int64_t r = t.first; r < t.first + t.rows; r++)
            swiglu_fwd_row(w->x, op->n / 2, op->y, op->h, r, scratch);
    }
}

static void tiles_part(const struct work *w, int thread, int n_threads) {
    const struct sy_linear *op = w->op;
    int64_t turn = 0, tiles = tiles_of(&op->rows);
    for (int64_t i = 0; i < tiles; i++) {
        struct row_tile t = row_tile(&op->rows, i);
        struct product p = product_of(op, &t);
        for (int64_t j = 0; j < op->n; j += NC)
            if (turn++ % n_threads == thread)
                SY_FN(product_tile)(w->x, &p, 0, j, t.rows, least(op->n - j, NC), sy_exec_scratch(w->x, thread));
    }
}

static void run(void *arg, int thread, int n_threads) {
    const struct work *w = arg;
    if (w->op->epilogue == SY_EPILOGUE_SWIGLU)
        rows_part(w, thread, n_threads);
    else
        tiles_part(w, thread, n_threads);
}

void SY_FN(linear)(const struct sy_exec *x, const struct sy_linear *op) {
    assert(op->y.col == 1 && op->epilogue != SY_EPILOGUE_SWIGLU_BACK);
    sy_pool_run(pool_for(x, op->rows.max_rows * op->n * op->k / MADDS_A_UNIT), run, &(struct work){x, op});
}
