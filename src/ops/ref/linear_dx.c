/* linear_dx: dx = BF(CHAIN over the outputs of all maps). With SwiGLU's backward behind it a thread takes all columns of a
 * tile of rows: a' of these rows goes to the workspace, then from there, still in cache, to dgu, hw and dw. */
#include "ops/ref/products.h"
#include "ops/ref/protos.h"
#include "ops/ref/swiglu.h"

struct work {
    const struct sy_exec *x;
    const struct sy_linear_dx *op;
};

static struct k_slice map_of(const struct product *p, int64_t i) {
    const struct sy_linear_dx *op = p->op;
    const struct sy_dx_map *m = &op->map[i];
    return (struct k_slice){sy_mat_rows(m->dy, p->row), operand_of(&m->w, p->group), packed_of(&m->w, p->group), m->k};
}

static struct product product_of(const struct sy_linear_dx *op, const struct row_tile *t) {
    int back = op->epilogue == SY_EPILOGUE_SWIGLU_BACK;
    return (struct product){.m = t->rows,
                            .n = op->n,
                            .n_slices = op->n_maps,
                            .slice = map_of,
                            .op = op,
                            .group = t->group,
                            .row = t->first,
                            .c = sy_mat_rows(back ? op->a : op->dx, t->first)};
}

static void rows_part(const struct work *w, int thread, int n_threads) {
    const struct sy_linear_dx *op = w->op;
    int64_t tiles = tiles_of(&op->rows);
    for (int64_t i = thread; i < tiles; i += n_threads) {
        struct row_tile t = row_tile(&op->rows, i);
        struct product p = product_of(op, &t);
        float *scratch = sy_exec_scratch(w->x, thread);
        product_rows(w->x, &p, 0, t.rows, scratch);
        for (int64_t r = t.first; r < t.first + t.rows; r++)
            swiglu_bwd_row(w->x, op, r, scratch);
    }
}

static void tiles_part(const struct work *w, int thread, int n_threads) {
    const struct sy_linear_dx *op = w->op;
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
    if (w->op->epilogue == SY_EPILOGUE_SWIGLU_BACK)
        rows_part(w, thread, n_threads);
    else
        tiles_part(w, thread, n_threads);
}

void SY_FN(linear_dx)(const struct sy_exec *x, const struct sy_linear_dx *op) {
    int64_t k = 0;
    assert(op->n_maps >= 1 && op->n_maps <= SY_DX_MAPS && op->epilogue != SY_EPILOGUE_SWIGLU);
    for (int i = 0; i < op->n_maps; i++)
        k += op->map[i].k;
    sy_pool_run(pool_for(x, op->rows.max_rows * op->n * k / MADDS_A_UNIT), run, &(struct work){x, op});
}
