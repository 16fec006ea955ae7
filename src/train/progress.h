/* The speed of a run, and its progress lines (columns.h): to whoever watches, and into log.txt. */
#ifndef SY_TRAIN_PROGRESS_H
#define SY_TRAIN_PROGRESS_H

#include <stdio.h>

#include "train/columns.h"
#include "train/metrics.h"

struct sy_progress_state {
    double peak_flops;     /* sy_ops_peak on the session's threads; 0: class and tier have none */
    double started, begun; /* this process's first step, the step that runs */
    double step_seconds;   /* of the last step; before the first a guess: its FLOPs at a third of the peak */
    int64_t first_step, log_freq;
    struct sy_columns columns, log_columns; /* of who watches; of log.txt, the same in every run */
};

/* Measures the machine for some milliseconds. columns: of a line, 0: 79. */
void sy_progress_init(const struct sy_session *s, int64_t first_step, int columns,
                      struct sy_progress_state *out);

/* A step begins: what came before it (a checkpoint, a held-out loss) is not its time. */
void sy_progress_begin(struct sy_progress_state *p);

/* Times and figures of the step that just ended, with the tokens that it computed. */
void sy_progress_step(struct sy_progress_state *p, const struct sy_session *s, const struct sy_step_result *r,
                      struct sy_metrics_times *times, struct sy_figures *figures);

/* The head before the first step, and how long a step of a second or more will take; then a line a step,
 * in the file every metrics.log_freq steps. log_file may be NULL. */
void sy_progress_head(const struct sy_progress_state *p, const struct sy_io *io, const struct sy_log *log,
                      FILE *log_file);
void sy_progress_show(const struct sy_progress_state *p, const struct sy_figures *figures,
                      const struct sy_io *io, FILE *log_file);

#endif
