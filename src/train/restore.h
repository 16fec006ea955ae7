/* The tensors of a checkpoint into a session. */
#ifndef SY_TRAIN_RESTORE_H
#define SY_TRAIN_RESTORE_H

#include "ckpt/checkpoint.h"
#include "train/session.h"

/* Collective. Weights, and moments if they are wanted, of a checkpoint whose model `before` says, finished.
 * Its list of tensors is the beginning of the session's: trained ones first, then buffers; a buffer that is
 * new stays zeros. Errors: ERR_RUNTIME other tensors, those of sy_ckpt_load. The stored weights are not
 * made from them: sy_session_weights_changed. */
sy_status sy_restore(const struct sy_ckpt *ckpt, const struct sy_config *before, int moments,
                     struct sy_session *session, const struct sy_log *log);

#endif
