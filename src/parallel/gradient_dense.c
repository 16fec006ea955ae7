/* Gradients of matrices and vectors: pieces of spans, a list of products and one of sums. See
 * gradient_sums.h. */
#include "parallel/gradient_sums.h"

/* The piece of a dense leaf that begins at sequence `from` of the span. */
static struct sy_leaf_piece piece_at(const struct sy_gradients *g, const struct sy_span *at, int64_t from) {
    int64_t k = at->first + from, cell = g->dense.cell, in_leaf = k % cell;
    int64_t n = sy_gradient_least(at->n - from, cell - in_leaf);
    struct sy_walk_place p = sy_walk_place(&g->o.walk, k + n - 1);
    int ends = in_leaf + n == cell;
    return (struct sy_leaf_piece){.from = from,
                                  .n = n,
                                  .lane = (int)p.lane,
                                  .begins = in_leaf == 0,
                                  .ends = ends,
                                  .last = ends && p.round == g->o.walk.rounds - 1,
                                  .round = p.round};
}

static float *dense_leaf(const struct sy_gradients *g, int param) {
    if (g->dense.leaf)
        return g->dense.leaf + g->dense.tree.at[g->item[param]];
    return param == g->o.params->head ? g->leaf_head : NULL;
}

/* --- matrices and vectors ------------------------------------------------------------------------------- */

static struct sy_dw dense_problem(struct sy_gradients *g, const struct sy_gradient_matrix *m,
                                  const struct sy_leaf_piece *p, struct sy_rows rows, int64_t first_row) {
    const struct sy_param *q = sy_gradient_param(g, m->param);
    struct sy_leaf_target t = sy_leaf_target(g, &g->dense, g->item[m->param], p, dense_leaf(g, m->param));
    return (struct sy_dw){.rows = rows,
                          .n_segments = rows.sequences,
                          .m = q->rows,
                          .n = q->cols,
                          .dy = sy_mat_rows(m->dy, first_row),
                          .x = sy_mat_rows(m->x, first_row),
                          .acc = t.acc,
                          .c = t.out,
                          .fold = t.fold};
}

static struct sy_row_sum_item vector_item(struct sy_gradients *g, const struct sy_sink_vector *v,
                                          const struct sy_leaf_piece *p) {
    struct sy_leaf_target t = sy_leaf_target(g, &g->dense, g->item[v->param], p, dense_leaf(g, v->param));
    int64_t token = p->from * g->at.seq_len;
    struct sy_row_sum_item item = {.sequences = p->n,
                                   .rows_per_sequence = g->at.seq_len * v->heads,
                                   .heads = v->heads,
                                   .d = sy_gradient_param(g, v->param)->cols,
                                   .a = v->a,
                                   .x = v->x,
                                   .r = v->r ? v->r + token * v->heads : NULL,
                                   .acc = t.acc,
                                   .out = t.out,
                                   .fold = t.fold};
    item.a.data = sy_at(v->a.data, v->a.dtype, token * v->a.token);
    if (v->x.data)
        item.x.data = sy_at(v->x.data, v->x.dtype, token * v->x.token);
    return item;
}

/* A leaf of each matrix and vector, and what its end makes possible. */
static void use_piece(struct sy_gradients *g, const struct sy_leaf_piece *p) {
    const struct sy_exec *x = g->o.exec;
    struct sy_rows rows = sy_rows_dense(p->n, p->n * g->at.seq_len);
    int n_add = 0;
    for (int i = 0; i < g->n_matrices; i++)
        g->problem[i] = dense_problem(g, &g->matrix[i], p, rows, p->from * g->at.seq_len);
    for (int i = 0; i < g->n_vectors; i++)
        g->sum[i] = vector_item(g, &g->vector[i], p);
    if (g->n_matrices > 0)
        x->ops->linear_dw(x, &(struct sy_linear_dw){g->problem, g->n_matrices});
    if (g->n_vectors > 0)
        x->ops->row_sum(x, &(struct sy_row_sum){g->sum, g->n_vectors});
    for (int i = 0; i < g->n_matrices; i++)
        sy_leaf_show(g, &g->dense, g->item[g->matrix[i].param], p, g->problem[i].c);
    for (int i = 0; i < g->n_vectors; i++)
        sy_leaf_show(g, &g->dense, g->item[g->vector[i].param], p, g->sum[i].out);
    for (int i = 0; i < g->n_matrices; i++)
        n_add = sy_leaf_finish(g, &g->dense, g->item[g->matrix[i].param], p, n_add);
    for (int i = 0; i < g->n_vectors; i++)
        n_add = sy_leaf_finish(g, &g->dense, g->item[g->vector[i].param], p, n_add);
    sy_leaf_add_up(g, n_add);
}

/* All that is pending, leaf by leaf. */
void sy_gradient_use_pending(struct sy_gradients *g) {
    for (int64_t b = 0; g->n_matrices + g->n_vectors > 0 && b < g->at.n;) {
        struct sy_leaf_piece p = piece_at(g, &g->at, b);
        use_piece(g, &p);
        b += p.n;
    }
    g->n_matrices = g->n_vectors = 0;
}

/* What is pending is of one span, and the lists have room for one more. */
static void make_room(struct sy_gradients *g, const struct sy_span *at) {
    int same = at->first == g->at.first && at->n == g->at.n && at->seq_len == g->at.seq_len;
    if (!same || g->n_matrices == SY_GRADIENT_PENDING || g->n_vectors == SY_GRADIENT_PENDING)
        sy_gradient_use_pending(g);
    g->at = *at;
}

void sy_gradient_matrix(void *self, const struct sy_span *at, int param, struct sy_mat dy, struct sy_mat x) {
    struct sy_gradients *g = self;
    make_room(g, at);
    g->matrix[g->n_matrices++] = (struct sy_gradient_matrix){param, dy, x};
}

void sy_gradient_vector(void *self, const struct sy_span *at, const struct sy_sink_vector *v) {
    struct sy_gradients *g = self;
    make_room(g, at);
    g->vector[g->n_vectors++] = *v;
}

void sy_gradient_piece(void *self, const struct sy_sink_piece *q) {
    struct sy_gradients *g = self;
    struct sy_span at = {q->place, 1, q->seq_len};
    struct sy_leaf_piece p = piece_at(g, &at, 0);
    struct sy_gradient_matrix m = {q->param, q->dy, q->x};
    p.begins &= q->from == 0;
    p.ends &= q->from + q->n == q->seq_len;
    p.last &= p.ends;
    struct sy_dw problem = dense_problem(g, &m, &p, sy_rows_dense(1, q->n), 0);
    g->o.exec->ops->linear_dw(g->o.exec, &(struct sy_linear_dw){&problem, 1});
    sy_leaf_show(g, &g->dense, g->item[q->param], &p, problem.c);
    sy_leaf_add_up(g, sy_leaf_finish(g, &g->dense, g->item[q->param], &p, 0));
}
