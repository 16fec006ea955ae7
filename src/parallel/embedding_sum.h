/* The embedding's gradient: sums over the rows of the tokens that a step has, not over the vocabulary.
 *
 * All buffers are +0 but where a lane has touched them. A leaf is scatter-added; folds and joins add the rows
 * named by the tokens of the lanes below and clear what was added (op fold_rows): a +0 changes nothing, and
 * no sum is ever -0, so that the bits are those of sums over all rows.
 */
#ifndef SY_PARALLEL_EMBEDDING_SUM_H
#define SY_PARALLEL_EMBEDDING_SUM_H

#include "model/sink.h"
#include "parallel/tree.h"
#include "parallel/walk.h"

/* This rank's lanes as the tree takes them. */
static inline struct sy_tree_run sy_tree_run_of(const struct sy_walk *w) {
    return (struct sy_tree_run){w->first_lane, w->n_lanes};
}
static inline struct sy_tree_shape sy_tree_shape_of(const struct sy_walk *w, const struct sy_tree_run *run) {
    return (struct sy_tree_shape){w->lanes, sy_walk_width(w), run, 1};
}

struct sy_embedding_sum {
    const struct sy_exec *exec;
    struct sy_walk walk;
    int64_t seq_len, rows, d;
    struct sy_tree tree;
    float *leaf;  /* [rows, d], when a lane has more than one leaf */
    int32_t *ids; /* [walk * S] the step's, until the next begins */
    int used;     /* a step has begun: something is not +0 */
};

/* Local. Without rows: of a rank that has no embedding; it has no memory, and nothing is added. Errors: those
 * of sy_tree_init. sy_embedding_sum_fini. */
sy_status sy_embedding_sum_init(const struct sy_exec *exec, const struct sy_walk *walk, int64_t seq_len,
                                int64_t rows, int64_t d, struct sy_embedding_sum *e);
void sy_embedding_sum_fini(struct sy_embedding_sum *e);
void sy_embedding_sum_carve(struct sy_embedding_sum *e, struct sy_arena *a);

/* Clears what the step before left, and keeps the tokens of this one: ids [walk * S]. */
void sy_embedding_sum_begin(struct sy_embedding_sum *e, const int32_t *ids);
/* dy [T, d] of the span's tokens `ids`. */
void sy_embedding_sum_add(struct sy_embedding_sum *e, const struct sy_span *at, const int32_t *ids,
                          struct sy_mat dy);
/* Of a rank that has all lanes, after the last sequence, until the next begin. */
float *sy_embedding_sum_root(const struct sy_embedding_sum *e);

#endif
