/* Who watches a training: progress line, metrics.jsonl, report, TensorBoard, alerts, Prometheus, traces and
 * snapshots of memory. What a rank alone has of them is the first one's; traces and snapshots are every
 * rank's.
 */
#ifndef SY_TRAIN_WATCHERS_H
#define SY_TRAIN_WATCHERS_H

#include "report/live.h"
#include "train/alerts.h"
#include "train/metrics.h"
#include "train/progress.h"
#include "train/prometheus.h"
#include "train/snapshot.h"
#include "train/tensorboard.h"
#include "train/traces.h"

struct sy_watched { /* outlives them */
    struct sy_session *session;
    const struct sy_io *io;
    const struct sy_log *log;
    const char *run_dir, *recipe_id;
};

struct sy_watchers {
    struct sy_watched of;
    int first;    /* rank 0's */
    int listener; /* for prometheus, until it has it; -1: none */
    struct sy_metrics metrics;
    struct sy_report_live *report; /* NULL: none is written */
    struct sy_tensorboard tensorboard;
    struct sy_alerts alerts;
    struct sy_prometheus *prometheus;
    struct sy_progress_state progress;
    struct sy_figures figures; /* of the step that was noted */
    struct sy_traces traces;
    struct sy_snapshot snapshot;
};

/* Local. The first rank's, in the run's folder; `step` are done. Errors: those of the files. */
sy_status sy_watchers_begin_first(struct sy_watchers *w, const struct sy_watched *of, int64_t step);
/* Local. Every rank's, after that. Errors: ERR_MEMORY. */
sy_status sy_watchers_begin(struct sy_watchers *w, const struct sy_watched *of, int64_t step);

/* Around a step, its number from 1. before is collective. */
sy_status sy_watchers_before(struct sy_watchers *w, int64_t step);
void sy_watchers_after(struct sy_watchers *w, int64_t step);
/* Local. A step that was done. Errors: those of metrics.jsonl. */
sy_status sy_watchers_step(struct sy_watchers *w, const struct sy_step_result *r);
/* Collective. It is shown, and its trace written. log_file: of the run, or NULL. */
sy_status sy_watchers_shown(struct sy_watchers *w, int64_t step, FILE *log_file);
/* Local. A held-out loss over n tokens. */
sy_status sy_watchers_eval(struct sy_watchers *w, int64_t step, double loss, int64_t n);

/* Local. Traces, when the session is gone. */
void sy_watchers_end_traces(struct sy_watchers *w);
/* Local. metrics.jsonl is whole, or what failed before stays the error. */
sy_status sy_watchers_last(struct sy_watchers *w, sy_status status);
/* Local. All others. */
void sy_watchers_end(struct sy_watchers *w, const struct sy_log *log);

#endif
