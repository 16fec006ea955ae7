/* Masters and moments as a checkpoint's store. */
#ifndef SY_TRAIN_STATE_STORE_H
#define SY_TRAIN_STATE_STORE_H

#include "ckpt/checkpoint.h"
#include "train/state.h"

/* Local. A store over what this rank owns of `state`, and the other `ranks` of what they do (NULL: one
 * alone); both must outlive it. */
struct sy_ckpt_store sy_state_store(struct sy_state *state, const struct sy_comm *ranks);

#endif
