/* Accumulators that add up to the tree of NUMERICS 4: node(l, i) = node(l-1, 2i) + node(l-1, 2i+1), absent nodes skipped.
 *
 * For each parameter, `leaves` lanes (or lane groups) arrive in ascending order, `width` of them at a time: their
 * accumulators live side by side, and finished nodes wait as in a binary counter. So width + (the most ones of a multiple of
 * width below leaves, in binary) buffers are enough, and no lane is ever copied: a buffer changes its role. Each buffer has
 * the layout of sy_params.
 */
#ifndef SY_PARALLEL_TREE_H
#define SY_PARALLEL_TREE_H

#include "base/arena.h"
#include "ops/ops.h"

enum { SY_TREE_LEVELS = 18, SY_TREE_MAX_BUFFERS = 64 };

struct sy_tree {
    int leaves, width, n_buffers, levels;
    int in_turn;                        /* a planted bug: lanes added one after another, no tree */
    int64_t first, n;                   /* the range of elements that the buffers hold */
    float *buffer[SY_TREE_MAX_BUFFERS]; /* element `first` of each */
    int n_params;
    struct sy_tree_param {
        uint64_t used;               /* buffers in use */
        int8_t node[SY_TREE_LEVELS]; /* buffer of the waiting node of a level, or -1 */
        int8_t *lane;                /* [width] buffer of a lane's accumulator, or -1 */
    } * param;
};

/* Buffers needed. Errors: ERR_USAGE when more than SY_TREE_MAX_BUFFERS. */
sy_status sy_tree_shape(int leaves, int width, int *n_buffers);

/* Carves buffers for elements first..first+n-1. */
void sy_tree_take(struct sy_arena *a, const char *tag, int leaves, int width, int n_buffers, int n_params, int64_t first,
                  int64_t n, struct sy_tree *tree);

/* Forgets everything; before a step. */
void sy_tree_begin(struct sy_tree *tree);

/* The accumulator of `lane` for the parameter at [offset, offset + n): made of zeros when first asked for. */
float *sy_tree_lane(struct sy_tree *tree, int param, int lane, int64_t offset, int64_t n);

/* The lane is complete: its node joins its siblings as far as they are there. Lanes finish in ascending order. */
void sy_tree_finish(struct sy_tree *tree, const struct sy_exec *x, int param, int lane, int64_t offset, int64_t n);

/* The root, after the last lane; owned by the tree. */
float *sy_tree_root(const struct sy_tree *tree, int param, int64_t offset);

#endif
