/* The sequences of a step: from the data set to the feed, in the order of the walk, and from there to the
 * exec's memory. */
#ifndef SY_TRAIN_FEED_H
#define SY_TRAIN_FEED_H

#include "train/session.h"

/* Local. The data set of a configuration: once a process, for all its ranks. Errors: those of tokenizer
 * and mixture. sy_data_close (of {0} too). */
sy_status sy_data_open(const struct sy_config *config, const struct sy_log *log, struct sy_data *out);
void sy_data_close(struct sy_data *data);

/* Local. The tokenizer of a configuration. */
struct sy_tokenizer_options sy_session_tokenizer_options(const struct sy_config *config);

/* Local. All sequences of step `step` (from 0) of this rank's walk. */
sy_status sy_feed_fetch(struct sy_session *s, int64_t step);

/* Local. Room for the next step's sequences, where ops run beside the host. Errors: ERR_MEMORY. */
sy_status sy_feed_make_ahead(struct sy_session *s);
void sy_feed_free_ahead(struct sy_session *s);

/* Local. Between a step's last op and its wait: the sequences of step `next`, if the run has one, for the
 * next sy_feed_fetch. One that fails is fetched again there. */
void sy_feed_fetch_ahead(struct sy_session *s, int64_t next);

/* Local. n held-out sequences from `first` on, at the feed's beginning. */
sy_status sy_feed_fetch_heldout(struct sy_session *s, int64_t first, int64_t n);

/* Positions of the first n sequences; enqueues their copy. Returns their valid labels. */
int64_t sy_feed_send(struct sy_session *s, int64_t n);

/* One sequence of one document, no longer than the step's; enqueues its copy. */
struct sy_batch sy_feed_sequence(struct sy_session *s, const int32_t *ids, int64_t n);

/* n tokens of a text, behind `cached` others of its slot (model/cache.h). */
struct sy_feed_text {
    const int32_t *ids, *labels; /* [n]; labels NULL: none */
    int64_t n, cached;
    int slot;
};
/* The texts side by side, together no more than a pass has room for (sy_session_rows); enqueues their copy.
 * rows [n_texts], filled here, stays as long as the batch. */
struct sy_batch sy_feed_texts(struct sy_session *s, const struct sy_feed_text *texts, int n_texts,
                              struct sy_text_rows *rows);

/* Places first .. first + n - 1 as a batch. */
struct sy_batch sy_feed_batch(const struct sy_session *s, int64_t first, int64_t n);

#endif
