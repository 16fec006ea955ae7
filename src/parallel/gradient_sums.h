/* What the files of gradients.h share: sums and their leaves.
 *
 *   gradients.c         memory, the sink, what is left after a step     gradient_dense.c    matrices, vectors
 *   gradient_leaves.c   where a piece of a leaf goes, what it ends      gradient_experts.c  experts
 */
#ifndef SY_PARALLEL_GRADIENT_SUMS_H
#define SY_PARALLEL_GRADIENT_SUMS_H

#include "parallel/embedding_sum.h"
#include "parallel/gradients.h"

enum { SY_GRADIENT_PENDING = 32 }; /* matrices of one layer, and vectors */

struct sy_gradient_sum { /* of a tree and its leaves: dense weights over lanes, experts over lane groups */
    struct sy_tree tree;
    float *leaf;  /* [tree.n] for each rank that sends, when leaves are cut; NULL */
    int64_t cell; /* sequences of a leaf */
};

struct sy_gradient_matrix { /* handed over, not used yet */
    int param;
    struct sy_mat dy, x;
};

struct sy_gradients {
    struct sy_gradients_options o;
    struct sy_arena arena;
    struct sy_gradient_sum dense, experts;
    struct sy_walk *walks; /* [n_ranks] a copy */
    int n_ranks;
    int64_t first_expert, n_experts;
    struct sy_embedding_sum embedding;
    float *leaf_head;  /* when nothing else is cut */
    int *item;         /* [n_params] in its tree; of an expert's weights: its layer's */
    struct sy_span at; /* of what is pending */
    int n_matrices, n_vectors;
    struct sy_gradient_matrix matrix[SY_GRADIENT_PENDING];
    struct sy_sink_vector vector[SY_GRADIENT_PENDING];
    struct sy_dw problem[SY_GRADIENT_PENDING];
    struct sy_row_sum_item sum[SY_GRADIENT_PENDING];
    struct sy_add_item *add;
    int shuffle_lanes;
    struct sy_gradients_work work;
    void (*flushed)(void *arg);
    void *flushed_arg;
};

static inline const struct sy_param *sy_gradient_param(const struct sy_gradients *g, int param) {
    return &g->o.params->param[param];
}
static inline int64_t sy_gradient_size(const struct sy_param *p) { return p->rows * p->cols; }
static inline int64_t sy_gradient_least(int64_t a, int64_t b) { return a < b ? a : b; }

/* --- gradient_leaves.c ------------------------------------------------------------------------- */

struct sy_leaf_piece { /* of a leaf: sequences from .. from + n - 1 of the span */
    int64_t from, n;
    int lane;               /* or lane group */
    int rank;               /* whose sequences they are, where a leaf may be cut */
    int begins, ends, last; /* last: of its lane */
    int64_t round;
};

/* Where a piece's sum goes: the accumulator when the leaf ends, else its leaf buffer. */
struct sy_leaf_target {
    const float *acc;
    float *out;
    int fold;
};
struct sy_leaf_target sy_leaf_target(struct sy_gradients *g, struct sy_gradient_sum *s, int item,
                                     const struct sy_leaf_piece *p, float *leaf);

/* Shows the sum of a lane to whoever looks, when a leaf has been added at `out`. */
void sy_leaf_show(const struct sy_gradients *g, const struct sy_gradient_sum *s, int item,
                  const struct sy_leaf_piece *p, float *out);

/* Lists in g->add, of n items so far, what the end of a lane makes possible; returns how many there are. */
int sy_leaf_finish(struct sy_gradients *g, struct sy_gradient_sum *s, int item, const struct sy_leaf_piece *p,
                   int n);
void sy_leaf_add_up(struct sy_gradients *g, int n);

/* --- the sink ---------------------------------------------------------------------------------- */

/* gradient_dense.c: of struct sy_grad_sink; what was handed over is used. */
void sy_gradient_matrix(void *self, const struct sy_span *at, int param, struct sy_mat dy, struct sy_mat x);
void sy_gradient_vector(void *self, const struct sy_span *at, const struct sy_sink_vector *v);
void sy_gradient_piece(void *self, const struct sy_sink_piece *q);
void sy_gradient_use_pending(struct sy_gradients *g);
/* gradient_experts.c */
void sy_gradient_experts(void *self, const struct sy_span *at, const struct sy_sink_experts *e);

#endif
