/* Where the time of a training step goes: an op table and a gradient sink that stand before the real ones,
 * count and time each call, and forward it.
 *
 *     p->ops   every op of SY_OPS_LIST -> p->inner     exec->ops points here: no caller of an op knows
 *     sink     matrix, piece, experts, vector, embedding, flush -> the gradients'
 *     mark     a place in train/step.c where another part of the step begins
 *
 * Who has a timeline is told each op and span as it ends (timeline.h).
 *
 * Every moment of a step is charged to one part and column: an op's to its part in `part_of`, a product's to
 * that of its weight, which its address tells; inside the sink to the call's kind; the time between ops to
 * `host` or to the part of the last mark. The caller's thread alone calls, so nothing is atomic.
 */
#ifndef SY_TRAIN_PROFILE_H
#define SY_TRAIN_PROFILE_H

#include "model/sink.h"
#include "parallel/keeper.h"
#include "ops/work.h"
#include "train/state.h"
#include "train/timeline.h"

/* X(name, text, layer): layer 1: its ops belong to a layer of the model. */
#define SY_PROFILE_PART_LIST(X)                      \
    X(embedding, "embedding", 0)                     \
    X(products, "attention products", 1)             \
    X(attention, "attention core", 1)                \
    X(experts, "experts", 1)                         \
    X(ffn, "shared experts, dense layers", 1)        \
    X(router, "router, dispatch, combine", 1)        \
    X(pointwise, "norms, rope, residual", 1)         \
    X(head, "head and loss", 0)                      \
    X(host, "between ops", 1)                        \
    X(w_matrices, "weight gradients: matrices", 1)   \
    X(w_head, "weight gradients: head", 0)           \
    X(w_experts, "weight gradients: experts", 1)     \
    X(w_vectors, "weight gradients: vectors", 1)     \
    X(w_embedding, "weight gradients: embedding", 0) \
    X(reduce, "gradients over ranks", 0)             \
    X(spread, "weights over ranks", 0)               \
    X(norm, "gradient norm", 0)                      \
    X(adamw, "AdamW, expert bias", 0)                \
    X(cast, "cast", 0)                               \
    X(digest, "digest", 0)                           \
    X(other, "other", 0)

enum sy_profile_part {
#define X(name, text, layer) SY_PART_##name,
    SY_PROFILE_PART_LIST(X)
#undef X
        SY_N_PARTS
};

/* Columns of a part. Up to `host`: which pass. Of a call of the sink: leaves, and the sums of leaves and of
 * lanes (folds and joins of the tree); of the gradients over ranks: all else, and the joins. Of the
 * others: the first. */
enum sy_profile_column { SY_FORWARD, SY_RECOMPUTE, SY_BACKWARD, SY_N_COLUMNS, SY_LEAVES = 0, SY_SUMS = 1 };
int sy_profile_columns(int part);

enum sy_profile_op {
#define X(name, type) SY_OP_##name,
    SY_OPS_LIST(X)
#undef X
        SY_N_OPS
};

struct sy_profile_tally {
    double seconds;
    int64_t calls, runs; /* of ops; of the pool */
};

struct sy_profile_place {
    int column;
    enum sy_profile_part part;
    int layer; /* belongs to a layer of the model */
    int span;  /* of a timeline, from `began` on */
    double began;
    int64_t held; /* the timeline's events then */
};

/* What is asked of each op (ops/work.h): nothing, with planned rows where the device counted them, with the
 * counts, for which the host waits. */
enum sy_profile_works { SY_WORKS_NONE, SY_WORKS_PLANNED, SY_WORKS_COUNTED };

struct sy_profile {
    struct sy_ops ops; /* first: an op finds the profile by its exec's table */
    const struct sy_ops *inner;
    struct sy_grad_sink sink; /* the real one */
    const struct sy_state *state;
    struct sy_keeper keeper;
    const struct sy_pool *pool;
    double (*clock)(void); /* of all seconds here */
    int waits;             /* for each op: a GPU's, too, is timed by the host */
    enum sy_profile_works works;
    struct sy_timeline *timeline; /* not owned; NULL: nobody is told */
    struct sy_profile_place now;
    int op_now;                   /* that is being done, or -1 */
    int column;                   /* the pass that goes on */
    enum sy_profile_part flushed; /* what the sink was handed and has not used */
    double since;
    int64_t runs_since;
    /* what a step was */
    struct sy_profile_tally part[SY_N_COLUMNS][SY_N_PARTS];
    struct sy_profile_tally op[SY_N_OPS];
    double op_bytes[SY_N_OPS], op_flops[SY_N_OPS]; /* if `works` */
    struct sy_profile_tally layers;                /* of all layers and passes */
    int64_t passes;                                /* batches of sequences */
    /* of the experts' weight gradients on a CPU: rows, and rows of zeros that fill up each segment */
    int64_t expert_rows, expert_padding;
};

/* Local. A profile before `exec`'s ops; state and keeper have the weights that the ops get. exec->ops =
 * &profile->ops makes it work. It waits for every op, asks for no work and has no timeline. */
void sy_profile_init(struct sy_profile *p, const struct sy_exec *exec, const struct sy_state *state,
                     const struct sy_keeper *keeper);

/* Local. A step begins: all tallies are zero; it ends: the time until now is charged. */
void sy_profile_begin(struct sy_profile *p);
void sy_profile_end(struct sy_profile *p);

/* Local. The time until now is charged, what comes outside of ops is of `part`. NULL: nothing. */
void sy_profile_mark(struct sy_profile *p, enum sy_profile_part part);

/* Local. From here to leave time and ops are of `part`, one of those over ranks. NULL: nothing. */
struct sy_profile_place sy_profile_enter(struct sy_profile *p, enum sy_profile_part part);
void sy_profile_leave(struct sy_profile *p, struct sy_profile_place before);

/* Local. A sink before `sink`; profile NULL: that one. */
struct sy_grad_sink sy_profile_sink(struct sy_profile *p, struct sy_grad_sink sink);

const char *sy_profile_part_name(int part, const char **text);
const char *sy_profile_op_name(int op);
/* The part of an op; `other` if nobody said. */
enum sy_profile_part sy_profile_part_of(int op);

#endif
