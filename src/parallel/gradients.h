/* Gradients of a step on one process: leaf, fold and tree (NUMERICS 4) behind the model's sink.
 *
 * The step's batch is P lanes x Q rounds of cells of W sequences; sequence base + (j P + p) W + w is w of cell (p, j). They
 * are walked lane group by lane group, round by round, lane by lane, w by w, in batches of any size:
 *
 *     leaf  dense: one chain over a cell; experts: one over a round's cells of the group; vectors and embedding: sums over a
 * cell fold  A = A + leaf, j ascending tree  over lanes (experts: over groups)
 *
 * A leaf that one call completes is folded straight from the product; one that is cut waits in a leaf buffer and its chain
 * goes on there. The leaf buffers exist only when the batch size or the head's chunks cut leaves.
 */
#ifndef SY_PARALLEL_GRADIENTS_H
#define SY_PARALLEL_GRADIENTS_H

#include "model/params.h"
#include "model/sink.h"
#include "parallel/tree.h"

struct sy_gradients_options {
    const struct sy_params *params;
    const struct sy_exec *exec;
    int lanes, expert_lanes, cell; /* P, F, W */
    int64_t rounds;                /* Q */
    int64_t seq_len, max_sequences;
    int64_t head_chunk; /* tokens of a piece of the head's gradient */
    const char *plant;  /* a known bug for `verify --break`, or NULL */
};

struct sy_gradients;

/* Local. Bytes that create takes. Errors: ERR_USAGE. */
sy_status sy_gradients_measure(const struct sy_gradients_options *options, struct sy_arena *arena);
/* Local. Errors: ERR_USAGE, ERR_MEMORY with the bytes. */
sy_status sy_gradients_create(const struct sy_gradients_options *options, struct sy_gradients **out);
void sy_gradients_destroy(struct sy_gradients *g);

/* The planted bugs and what each does; NULL past the last. */
const char *sy_gradients_plant(int i);
const char *sy_gradients_plant_about(int i);

/* Place k of the walk, 0 <= k < P Q W: its sequence, counted from the step's first. */
int64_t sy_gradients_sequence(const struct sy_gradients *g, int64_t k);

void sy_gradients_begin(struct sy_gradients *g);
/* The next batch: places first .. first+n-1 of the walk. The sink's calls are about these. */
void sy_gradients_batch(struct sy_gradients *g, int64_t first, int64_t n);
struct sy_grad_sink sy_gradients_sink(struct sy_gradients *g);

/* The gradient of a parameter after the last batch. */
float *sy_gradients_root(const struct sy_gradients *g, int param);

#endif
