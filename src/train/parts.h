/* The parts of a session, made one after the other from the same options as they are measured with:
 * train/parts.c for train/session.c. */
#ifndef SY_TRAIN_PARTS_H
#define SY_TRAIN_PARTS_H

#include "train/session.h"

/* Local. What a step's ops read and write beside the model; state, weights and update; the model
 * (collective over ep); gradients, their reduction, routes. `train`: also what backward needs. */
sy_status sy_session_make_step(struct sy_session *s);
sy_status sy_session_make_weights(struct sy_session *s, int train);
sy_status sy_session_make_model(struct sy_session *s, int train);
sy_status sy_session_make_training(struct sy_session *s);
/* Local. Of the weights' parts the one that a batch has a share in. */
sy_status sy_session_make_update(struct sy_session *s);

/* Collective. Whether every rank has sequences in a step's last pass. */
sy_status sy_session_find_ends(struct sy_session *s);

#endif
