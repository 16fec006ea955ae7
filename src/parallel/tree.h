/* Accumulators that add up to the tree of NUMERICS 4: node(l, i) = node(l-1, 2i) + node(l-1, 2i+1), absent
 * nodes skipped.
 *
 * Here come some of the step's `leaves` lanes (or lane groups), in runs: those of a run ascending, `width` of
 * them at a time, several runs side by side (a run is one rank's lanes: an owner of experts gets those of all
 * ranks of its group). Whatever the order in which lanes finish, the same nodes are formed: what is left at
 * the end are the maximal nodes of the lanes that came, one, the root, if those are all. Operands of a join
 * commute.
 *
 * For each item (a weight, or all experts of a layer) a lane in progress has a buffer, and so has a node that
 * waits for its sibling. No lane is ever copied: a buffer changes its role. Nothing is cleared: the first
 * that comes to a buffer is stored, not added.
 *
 * The tree says what is to be added; its caller enqueues it. A lane that consists of one leaf alone and whose
 * sibling waits is added to the sibling straight away (`alone`).
 */
#ifndef SY_PARALLEL_TREE_H
#define SY_PARALLEL_TREE_H

#include "device/carve.h"

enum { SY_TREE_LEVELS = 18, SY_TREE_MAX_BUFFERS = 64, SY_TREE_MAX_NODES = 2 * SY_TREE_LEVELS };

struct sy_tree_run {
    int first, n; /* lanes */
};
struct sy_tree_shape {
    int leaves;                    /* lanes of the step */
    int width;                     /* lanes of a run that are in progress at once */
    const struct sy_tree_run *run; /* ascending, without a lane in two; NULL: one, of all lanes */
    int n_runs;
};

struct sy_tree_node { /* the sum of the lanes of node(level, index) */
    int level, index;
};

struct sy_tree_place { /* what a buffer holds of an item */
    enum { SY_TREE_FREE, SY_TREE_LANE, SY_TREE_WAITS } is;
    int lane; /* in progress */
    struct sy_tree_node node;
};

struct sy_tree {
    int leaves, n_buffers, levels;
    int in_turn; /* a planted bug: lanes added one after another, no tree */
    int n_items;
    int64_t n;          /* elements of a buffer */
    int64_t *at, *size; /* [n_items] of an item in a buffer */
    float *buffer[SY_TREE_MAX_BUFFERS];
    struct sy_tree_place *place; /* [n_items, n_buffers] */
};

/* Buffers needed. Errors: ERR_USAGE when more than SY_TREE_MAX_BUFFERS. */
sy_status sy_tree_buffers(const struct sy_tree_shape *shape, int *n_buffers);

/* The maximal nodes of the lanes first .. first + n - 1, ascending, as finishing them leaves them; at most
 * SY_TREE_MAX_NODES. Returns how many. */
int sy_tree_maximal(int leaves, int first, int n, struct sy_tree_node out[SY_TREE_MAX_NODES]);

/* Levels above so many leaves; the node of all of them. */
int sy_tree_levels(int leaves);
struct sy_tree_node sy_tree_root_of(int leaves);

/* The lanes of a node. */
struct sy_tree_run sy_tree_lanes_of(int leaves, struct sy_tree_node node);

/* Local. A tree of items of these sizes, without memory. Errors: ERR_USAGE, ERR_MEMORY. sy_tree_fini gives it
 * back. */
sy_status sy_tree_init(const struct sy_tree_shape *shape, int n_items, const int64_t *sizes,
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

/* The sum of a node, if it waits; else NULL. Owned by the tree. */
float *sy_tree_node(const struct sy_tree *tree, int item, struct sy_tree_node node);

/* The root, after the last lane; NULL before, or where not all lanes have come. Owned by the tree. */
float *sy_tree_root(const struct sy_tree *tree, int item);

#endif
