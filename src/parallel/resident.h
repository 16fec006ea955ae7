/* The weight source of a rank that has all weights in its own memory: stored weights (BF of the masters),
 * vectors as the masters are, and the right-hand sides packed for this tier, once for each version. Also the
 * room for a layer at a time of one that has not (sharded.h).
 */
#ifndef SY_PARALLEL_RESIDENT_H
#define SY_PARALLEL_RESIDENT_H

#include "model/weights.h"
#include "parallel/keeper.h"
#include "parallel/owner.h"

struct sy_resident_options {
    const struct sy_params *params;
    const struct sy_config_model *model;
    const struct sy_config_moe *moe;
    const struct sy_exec *exec;
    /* [n_params] first element of each that this rank owns whole; read for vectors and expert biases;
     * outlives the source */
    float *const *master;
    const struct sy_owner *own; /* no parameter of other stages is here; NULL: all are */
    struct sy_share experts;    /* of each layer that lie here */
    int gathered;               /* vectors have parts of several ranks: they lie here, too */
    enum { SY_RESIDENT_ALL, SY_RESIDENT_ENDS, SY_RESIDENT_ONE_LAYER } holds; /* one layer: at a time */
    int room_of; /* one layer: of the kind of this one alone; -1: of any */
};

struct sy_resident;

/* Local. Adds what create takes to a measuring arena. Errors: ERR_MEMORY. */
sy_status sy_resident_measure(const struct sy_resident_options *options, struct sy_arena *arena);
/* Local. Errors: ERR_MEMORY with the bytes. Owned by the caller. */
sy_status sy_resident_create(const struct sy_resident_options *options, struct sy_resident **out);
void sy_resident_destroy(struct sy_resident *r);

/* Where tensors are: matrices to be written with BF of the masters, gathered vectors with the masters of all
 * ranks. */
struct sy_keeper sy_resident_keeper(const struct sy_resident *r);

/* Local. What is kept has changed. */
void sy_resident_changed(struct sy_resident *r);

struct sy_weight_source sy_resident_source(struct sy_resident *r);

#endif
