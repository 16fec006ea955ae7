/* The sequences of a step: from the data set to the feed, in the order of the walk, and from there to the
 * exec's memory. */
#ifndef SY_TRAIN_FEED_H
#define SY_TRAIN_FEED_H

#include "train/session.h"

/* Local. The data set of a configuration: once a process, for all its ranks. Errors: those of documents and
 * loader. sy_data_close (of {0} too). */
sy_status sy_data_open(const struct sy_config *config, const struct sy_log *log, struct sy_data *out);
void sy_data_close(struct sy_data *data);

/* Local. All sequences of step `step` (from 0) of this rank's walk. */
sy_status sy_feed_fetch(struct sy_session *s, int64_t step);

/* Local. n held-out sequences from `first` on, at the feed's beginning. */
sy_status sy_feed_fetch_heldout(struct sy_session *s, int64_t first, int64_t n);

/* Positions of the first n sequences; enqueues their copy. Returns their valid labels. */
int64_t sy_feed_send(struct sy_session *s, int64_t n);

/* The feed's first n tokens as one sequence, shorter than the step's; enqueues its copy. */
struct sy_batch sy_feed_sequence(struct sy_session *s, int64_t n);

/* Places first .. first + n - 1 as a batch. */
struct sy_batch sy_feed_batch(const struct sy_session *s, int64_t first, int64_t n);

#endif
