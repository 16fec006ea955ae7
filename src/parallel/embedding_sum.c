/* The embedding's gradient: see embedding_sum.h. */
#include "parallel/embedding_sum.h"

sy_status sy_embedding_sum_init(const struct sy_exec *exec, const struct sy_walk *walk, int64_t seq_len,
                                int64_t rows, int64_t d, struct sy_embedding_sum *e) {
    int64_t size = rows * d;
    *e = (struct sy_embedding_sum){.exec = exec, .walk = *walk, .seq_len = seq_len, .rows = rows, .d = d};
    struct sy_tree_run run = sy_tree_run_of(walk);
    struct sy_tree_shape shape = sy_tree_shape_of(walk, &run);
    return sy_tree_init(&shape, 1, &size, &e->tree);
}

void sy_embedding_sum_fini(struct sy_embedding_sum *e) { sy_tree_fini(&e->tree); }

static int one_leaf(const struct sy_embedding_sum *e) { return e->walk.rounds == 1; }

static int64_t tokens_of(const struct sy_embedding_sum *e) { return sy_walk_length(&e->walk) * e->seq_len; }

void sy_embedding_sum_carve(struct sy_embedding_sum *e, struct sy_arena *a) {
    if (e->rows == 0)
        return;
    sy_tree_carve(&e->tree, a, "gradients");
    e->ids = sy_arena_take(a, "gradients", (size_t)tokens_of(e), sizeof *e->ids);
    if (!one_leaf(e))
        e->leaf = sy_take_f32(a, "leaf of the embedding", e->rows * e->d);
}

static void clear(const struct sy_embedding_sum *e, float *x) {
    e->exec->ops->fill(e->exec, &(struct sy_fill){.n = e->rows * e->d, .data = x});
}

/* to += from on the rows of the tokens ids [n]; from is +0 then. Where the tokens are more than the rows: on
 * all rows. */
static void fold(const struct sy_embedding_sum *e, const int32_t *ids, int64_t n, float *from, float *to) {
    const struct sy_ops *ops = e->exec->ops;
    if (n < e->rows) {
        ops->fold_rows(e->exec, &(struct sy_fold_rows){.n = n, .d = e->d, .index = ids, .x = from, .y = to});
        return;
    }
    if (to)
        ops->add_f32(e->exec, &(struct sy_add_f32){&(struct sy_add_item){e->rows * e->d, from, to}, 1});
    clear(e, from);
}

/* The same on the tokens of lanes first .. first + n - 1. */
static void fold_lanes(const struct sy_embedding_sum *e, int64_t first, int64_t n, float *from, float *to) {
    int64_t lo, hi;
    sy_walk_places(&e->walk, first, n, &lo, &hi);
    fold(e, e->ids + lo * e->seq_len, (hi - lo) * e->seq_len, from, to);
}

/* The maximal nodes of this rank's lanes; 0: the step has not come to its end. */
static int nodes_of(const struct sy_embedding_sum *e, struct sy_tree_node node[SY_TREE_MAX_NODES]) {
    int n = sy_tree_maximal(e->walk.lanes, e->walk.first_lane, e->walk.n_lanes, node);
    for (int i = 0; i < n; i++)
        if (!sy_tree_node(&e->tree, 0, node[i]))
            return 0;
    return n;
}

/* A whole step has left its maximal nodes, one that ended in its middle anything. */
static void clear_up(struct sy_embedding_sum *e) {
    struct sy_tree_node node[SY_TREE_MAX_NODES];
    int n = e->used ? nodes_of(e, node) : 0;
    for (int i = 0; i < n; i++) {
        struct sy_tree_run lanes = sy_tree_lanes_of(e->walk.lanes, node[i]);
        fold_lanes(e, lanes.first, lanes.n, sy_tree_node(&e->tree, 0, node[i]), NULL);
    }
    for (int i = 0; e->used && n == 0 && i < e->tree.n_buffers; i++)
        clear(e, e->tree.buffer[i]);
    if (e->used && n == 0 && e->leaf)
        clear(e, e->leaf);
}

void sy_embedding_sum_begin(struct sy_embedding_sum *e, const int32_t *ids) {
    if (e->rows == 0)
        return;
    clear_up(e);
    sy_tree_begin(&e->tree);
    e->exec->ops->copy(e->exec,
                       &(struct sy_copy){.rows = 1, .bytes = tokens_of(e) * 4, .from = ids, .to = e->ids});
    e->used = 1;
}

static void finish(struct sy_embedding_sum *e, int64_t lane) {
    struct sy_tree_join joins[SY_TREE_LEVELS];
    int n = sy_tree_finish(&e->tree, 0, (int)lane, joins);
    for (int i = 0; i < n; i++)
        fold_lanes(e, joins[i].first, joins[i].n_lanes, joins[i].from, joins[i].to);
}

/* n sequences of one cell from place k of the walk on. */
static void add_cell(struct sy_embedding_sum *e, int64_t k, int64_t n, const int32_t *ids, struct sy_mat dy) {
    struct sy_walk_place p = sy_walk_place(&e->walk, k);
    int64_t tokens = n * e->seq_len, cell = e->walk.cell;
    float *sum = sy_tree_lane(&e->tree, 0, (int)p.lane, 0).sum, *leaf = one_leaf(e) ? sum : e->leaf;
    e->exec->ops->scatter_add(e->exec, &(struct sy_scatter_add){.n = tokens,
                                                                .d = e->d,
                                                                .out_rows = e->rows,
                                                                .index = ids,
                                                                .src = dy,
                                                                .out = sy_mat_of(leaf, SY_F32, e->d)});
    if (p.w + n < cell)
        return;
    if (leaf != sum)
        fold(e, e->ids + (k - p.w) * e->seq_len, cell * e->seq_len, leaf, sum);
    if (p.round == e->walk.rounds - 1)
        finish(e, p.lane);
}

void sy_embedding_sum_add(struct sy_embedding_sum *e, const struct sy_span *at, const int32_t *ids,
                          struct sy_mat dy) {
    for (int64_t b = 0; b < at->n;) {
        struct sy_walk_place p = sy_walk_place(&e->walk, at->first + b);
        int64_t n = e->walk.cell - p.w < at->n - b ? e->walk.cell - p.w : at->n - b;
        add_cell(e, at->first + b, n, ids + b * e->seq_len, sy_mat_rows(dy, b * e->seq_len));
        b += n;
    }
}

float *sy_embedding_sum_root(const struct sy_embedding_sum *e) { return sy_tree_root(&e->tree, 0); }
