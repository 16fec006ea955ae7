/* Masters and moments in flat buffers, in the layout of `params`, as a checkpoint's store. */
#ifndef SY_TRAIN_FLAT_STORE_H
#define SY_TRAIN_FLAT_STORE_H

#include "ckpt/checkpoint.h"

struct sy_flat_store {
    const struct sy_params *params;
    float *buffer
        [SY_CKPT_KINDS]; /* masters [n_floats], moments [n_trained]; NULL: not there, and not asked for */
};

/* Local. A store over `flat`, which must outlive it. */
struct sy_ckpt_store sy_flat_store(struct sy_flat_store *flat);

#endif
