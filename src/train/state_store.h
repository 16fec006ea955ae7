/* Masters and moments as a checkpoint's store. */
#ifndef SY_TRAIN_STATE_STORE_H
#define SY_TRAIN_STATE_STORE_H

#include "ckpt/checkpoint.h"
#include "comm/comm.h"
#include "parallel/mesh.h"
#include "train/state.h"

/* Local. A store over `state`, which must outlive it. put keeps what this rank owns and passes over the rest;
 * get is for one rank that owns everything. */
struct sy_ckpt_store sy_state_store(struct sy_state *state);

/* The same over ranks, for get: rank 0 saves from `store`, piece by piece, and all others serve it, who walk
 * the same pieces in the same order. */
struct sy_shared_store {
    struct sy_state *state;
    const struct sy_mesh *mesh;
    const struct sy_comm *world;
    struct sy_ckpt_store store;
    float *piece; /* what goes, and behind it what comes */
    int64_t *send_at, *recv_at;
    int64_t asked, pieces; /* pieces that were brought together; in all */
    int failed;            /* one could not be, as every rank knows */
};

/* Collective. Errors: ERR_MEMORY. */
sy_status sy_shared_store_open(struct sy_state *state, const struct sy_mesh *mesh,
                               const struct sy_comm *world, struct sy_shared_store *out);
/* Collective, after rank 0's save, whose status is `mine`, and instead of one elsewhere: returns the agreed
 * status. */
sy_status sy_shared_store_close(struct sy_shared_store *s, sy_status mine);

#endif
