/* Gradients of a step on one rank: leaf, fold and tree (NUMERICS 4) behind the model's sink.
 *
 *     leaf   dense: one chain over a cell; experts: one over a round's cells of the group; vectors and
 *            embedding: sums over a cell
 *     fold   A = A + leaf, rounds ascending
 *     tree   over lanes (experts: over groups)
 *
 * A rank's expert rows may come from all ranks of its expert-parallel group: each call says whose they are,
 * and each row's lane group and round follow from the walk of the rank that sent it. Several groups are then
 * in progress at once, in any order. What is left after a step are the maximal nodes of the lanes (groups)
 * that came: on one rank that has all, the roots.
 *
 * A leaf that one call completes goes straight from the product into the accumulator; one that is cut waits
 * in a leaf buffer and its chain goes on there. The leaf buffers exist only when the batch size or the head's
 * chunks cut leaves. All matrices of a layer are one list of products, all vectors one of sums; of the
 * embedding only the rows that were touched are added (embedding_sum.h).
 */
#ifndef SY_PARALLEL_GRADIENTS_H
#define SY_PARALLEL_GRADIENTS_H

#include "model/params.h"
#include "model/sink.h"
#include "parallel/owner.h"
#include "parallel/tree.h"
#include "parallel/walk.h"

struct sy_gradients_options {
    const struct sy_params *params;
    const struct sy_exec *exec;
    struct sy_walk walk;
    int64_t seq_len, max_sequences;
    int64_t head_piece; /* tokens of a piece of the head's gradient */
    /* [n_ranks] of the expert-parallel group, ascending in lanes; NULL: this rank's alone */
    const struct sy_walk *walks;
    int n_ranks;
    int64_t first_expert, n_experts; /* that this rank owns; 0 of them, with `walks` NULL: all */
    const struct sy_owner *own;      /* none of another stage comes; NULL: all do; outlives them */
    const char *plant;               /* a known bug for `verify --break`, or NULL */
};

struct sy_gradients;

/* Local. Adds what create takes to a measuring arena. Errors: ERR_USAGE, ERR_MEMORY. */
sy_status sy_gradients_measure(const struct sy_gradients_options *options, struct sy_arena *arena);
/* Local. Errors: ERR_USAGE, ERR_MEMORY with the bytes. */
sy_status sy_gradients_create(const struct sy_gradients_options *options, struct sy_gradients **out);
void sy_gradients_destroy(struct sy_gradients *g);

/* The planted bugs that live here or in the walk, and what each does; NULL past the last. */
const char *sy_gradients_plant(int i);
const char *sy_gradients_plant_about(int i);

/* The lane groups of each of these ranks, as runs of the experts' tree: ranks that share one are one run. run
 * [n_ranks]; returns how many. */
int sy_gradients_groups(const struct sy_walk *walks, int n_ranks, struct sy_tree_run *run);

/* Before a step's first batch. ids: all tokens of this rank's walk, in the exec's memory. */
void sy_gradients_begin(struct sy_gradients *g, const int32_t *ids);
struct sy_grad_sink sy_gradients_sink(struct sy_gradients *g);
/* fn(arg) after every flush from now on; NULL: nothing. */
void sy_gradients_after_flush(struct sy_gradients *g, void (*fn)(void *arg), void *arg);

/* A parameter's sum over a maximal node of this rank's lanes (an expert's: lane groups), after the last
 * batch, in the exec's memory; until the next begin. The root is that of a rank that has all lanes. */
float *sy_gradients_sum(const struct sy_gradients *g, int param, struct sy_tree_node node);
float *sy_gradients_root(const struct sy_gradients *g, int param);
/* What one answer on every layout adds to a step's products, in elements, since begin: leaves that were
 * cut, as they were written to their buffer and read from it again, and leaves that were folded into
 * what a lane had. */
struct sy_gradients_work {
    int64_t cut, folded;
};
struct sy_gradients_work sy_gradients_work(const struct sy_gradients *g);

/* Whether the step has formed that node already. */
int sy_gradients_has(const struct sy_gradients *g, int param, struct sy_tree_node node);

#endif
