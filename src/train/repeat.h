/* Steps that the device repeats by itself (device/memory.h): one rank's, with nothing beside training. What
 * the host decides in such a step is a function of configuration and shapes, never of the step's number or of
 * data; numbers that change (scalars, ids) are copied to fixed places before. */
#ifndef SY_TRAIN_REPEAT_H
#define SY_TRAIN_REPEAT_H

#include "train/session.h"

/* Local. 1: the step from its first op to the update is enqueued. 0: the caller enqueues it, then asks
 * sy_repeat_done: 0: nothing was enqueued; it is to be done once more, and that is the end of it. */
int sy_repeat_step(struct sy_session *s);
int sy_repeat_done(struct sy_session *s);

/* Local. What was enqueued lies elsewhere from now on. */
void sy_repeat_forget(struct sy_session *s);

#endif
