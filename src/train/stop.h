/* Between two steps of a run: whether a checkpoint is due, and whether it was asked to stop.
 *
 * All ranks must decide alike, or some would save while others wait in a collective. So what one rank
 * was asked (a signal reaches any of them) is asked of all, and rank 0's clock is the one that counts
 * minutes.
 */
#ifndef SY_TRAIN_STOP_H
#define SY_TRAIN_STOP_H

#include "train/session.h"

struct sy_stop {
    const struct sy_io *io;
    const struct sy_session *session;
    int saves;       /* of io->save, already done */
    double saved_at; /* by this process's clock: the last checkpoint, or the start */
};

struct sy_stop sy_stop_begin(const struct sy_session *session, const struct sy_io *io);

/* Collective. Was any rank asked to save and stop? */
int sy_stop_asked(const struct sy_stop *s);

/* Collective. After `step`: is a checkpoint due by checkpoint.interval, by checkpoint.interval_minutes,
 * or because any rank was asked for one? That it was asked is forgotten. */
int sy_stop_save_due(struct sy_stop *s, int64_t step);

/* Local. A checkpoint was saved: its minutes begin again. */
void sy_stop_saved(struct sy_stop *s);

#endif
