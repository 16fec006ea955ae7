/* Accumulators that add up to the tree of NUMERICS 4: node(l, i) = node(l-1, 2i) + node(l-1, 2i+1), absent
 * nodes skipped.
 *
 * A rank adds a contiguous range of the leaves. For each item (a weight, or all experts of a layer) its lanes
 * (or lane groups) arrive in ascending order, `width` of them at a time: their accumulators live side by
 * side, and finished nodes wait for their sibling. No lane is ever copied: a buffer changes its role. Nothing
 * is cleared: the first that comes to a buffer is stored, not added. What is left when the last lane has
 * finished are the range's maximal nodes, those whose parent has leaves of other ranks: the root, if the
 * range is all of them, else at most two a level (reduce.h brings them together).
 *
 * The tree says what is to be added; its caller enqueues it. A lane that consists of one leaf alone and whose
 * sibling waits is added to the sibling straight away (`alone`).
 */
#ifndef SY_PARALLEL_TREE_H
#define SY_PARALLEL_TREE_H

#include "device/carve.h"

enum { SY_TREE_LEVELS = 18, SY_TREE_MAX_NODES = 2 * SY_TREE_LEVELS, SY_TREE_MAX_BUFFERS = 64 };

struct sy_tree_range { /* of `leaves`, first .. first + n - 1, `width` of them at a time */
    int leaves, first, n, width;
};

struct sy_tree_node {
    int level, index; /* a level below 0: none */
};

struct sy_tree {
    struct sy_tree_range range;
    int n_buffers, levels;
    int in_turn; /* a planted bug of a range that is all leaves: lanes added one after another, no tree */
    int n_items;
    int64_t n;          /* elements of a buffer */
    int64_t *at, *size; /* [n_items] of an item in a buffer */
    float *buffer[SY_TREE_MAX_BUFFERS];
    struct sy_tree_item {
        uint64_t used;             /* buffers in use */
        struct sy_tree_node *node; /* [n_buffers] that a buffer holds */
        int8_t *lane;              /* [width] buffer of a lane's accumulator, or -1 */
        uint64_t joined;           /* lanes whose accumulator is their sibling's node, a bit each */
        int finished;              /* lanes */
    } * item;
    struct sy_tree_node *nodes;
    int8_t *lanes;
};

/* Levels above `leaves` leaves. */
int sy_tree_levels(int leaves);

/* The maximal nodes of leaves first .. first + n - 1, ascending; how many. */
int sy_tree_maximal(int leaves, int first, int n, struct sy_tree_node out[SY_TREE_MAX_NODES]);

/* Buffers needed. Errors: ERR_USAGE when more than SY_TREE_MAX_BUFFERS. */
sy_status sy_tree_shape(const struct sy_tree_range *range, int *n_buffers);

/* Local. A tree of items of these sizes, without memory. Errors: ERR_USAGE, ERR_MEMORY. sy_tree_fini gives it
 * back. */
sy_status sy_tree_init(const struct sy_tree_range *range, int n_items, const int64_t *sizes,
                       struct sy_tree *tree);
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
 * and returns how many (at most SY_TREE_LEVELS). */
int sy_tree_finish(struct sy_tree *tree, int item, int lane, struct sy_tree_join joins[SY_TREE_LEVELS]);

/* Whether the last lane has finished. */
static inline int sy_tree_is_complete(const struct sy_tree *t, int item) {
    return t->item[item].finished == t->range.n;
}

/* The sum of a node that is complete and not joined yet; owned by the tree. The root is that of all lanes. */
float *sy_tree_sum_of(const struct sy_tree *tree, int item, struct sy_tree_node node);
float *sy_tree_root(const struct sy_tree *tree, int item);

#endif
