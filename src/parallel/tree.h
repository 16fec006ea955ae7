/* Accumulators that add up to the tree of NUMERICS 4: node(l, i) = node(l-1, 2i) + node(l-1, 2i+1), absent
 * nodes skipped.
 *
 * For each item (a weight, or all experts of a layer), `leaves` lanes (or lane groups) arrive in ascending
 * order, `width` of them at a time: their accumulators live side by side, and finished nodes wait as in a
 * binary counter. So width + (the most ones of a multiple of width below leaves, in binary) buffers are
 * enough, and no lane is ever copied: a buffer changes its role. Nothing is cleared: the first that comes to
 * a buffer is stored, not added.
 *
 * The tree says what is to be added; its caller enqueues it. A lane that consists of one leaf alone and whose
 * sibling waits is added to the sibling straight away (`alone`).
 */
#ifndef SY_PARALLEL_TREE_H
#define SY_PARALLEL_TREE_H

#include "device/carve.h"

enum { SY_TREE_LEVELS = 18, SY_TREE_MAX_BUFFERS = 64 };

struct sy_tree {
    int leaves, width, n_buffers, levels;
    int in_turn; /* a planted bug: lanes added one after another, no tree */
    int n_items;
    int64_t n;          /* elements of a buffer */
    int64_t *at, *size; /* [n_items] of an item in a buffer */
    float *buffer[SY_TREE_MAX_BUFFERS];
    struct sy_tree_item {
        uint64_t used;               /* buffers in use */
        int8_t node[SY_TREE_LEVELS]; /* buffer of the waiting node of a level, or -1 */
        int8_t *lane;                /* [width] buffer of a lane's accumulator, or -1 */
        uint64_t joined;             /* lanes whose accumulator is their sibling's node, a bit each */
    } * item;
    int8_t *lanes;
};

/* Buffers needed. Errors: ERR_USAGE when more than SY_TREE_MAX_BUFFERS. */
sy_status sy_tree_shape(int leaves, int width, int *n_buffers);

/* Local. A tree of items of these sizes, without memory. Errors: ERR_USAGE, ERR_MEMORY. sy_tree_fini gives it
 * back. */
sy_status sy_tree_init(int leaves, int width, int n_items, const int64_t *sizes, struct sy_tree *tree);
void sy_tree_fini(struct sy_tree *tree);
void sy_tree_carve(struct sy_tree *tree, struct sy_arena *a, const char *tag);

/* Forgets everything; before a step. */
void sy_tree_begin(struct sy_tree *tree);

struct sy_tree_sum {
    float *sum; /* [size of the item] */
    int fresh;  /* it holds nothing yet: store, else add */
};

/* Where the next leaf of `lane` goes. alone: the lane has no other. Store or add it before the next call
 * about the item. */
struct sy_tree_sum sy_tree_lane(struct sy_tree *tree, int item, int lane, int alone);

struct sy_tree_join { /* to = to + from, the sum of lanes first .. first + n_lanes - 1 */
    float *to, *from;
    int64_t first, n_lanes;
};

/* The lane is complete: writes the joins that this makes possible, in the order in which they are to be done,
 * and returns how many (at most SY_TREE_LEVELS). Lanes finish in ascending order. */
int sy_tree_finish(struct sy_tree *tree, int item, int lane, struct sy_tree_join joins[SY_TREE_LEVELS]);

/* Whether the last lane has finished. */
static inline int sy_tree_is_complete(const struct sy_tree *t, int item) {
    return t->item[item].node[t->levels] >= 0;
}

/* The root, after the last lane; owned by the tree. */
float *sy_tree_root(const struct sy_tree *tree, int item);

#endif
