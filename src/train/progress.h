/* The progress line and the speed that it shows. */
#ifndef SY_TRAIN_PROGRESS_H
#define SY_TRAIN_PROGRESS_H

#include "train/metrics.h"

struct sy_progress_state {
    double peak_flops; /* sy_ops_peak on the session's threads; 0: class and tier have none */
    double started, last;
    int64_t first_step;
};

/* Measures the machine for some milliseconds. */
void sy_progress_init(const struct sy_session *s, int64_t first_step, struct sy_progress_state *out);

/* Times of the step that just ended, and its line of at most 79 columns. */
void sy_progress_step(struct sy_progress_state *p, const struct sy_session *s, const struct sy_step_result *r,
                      struct sy_metrics_times *times, char line[80]);

#endif
