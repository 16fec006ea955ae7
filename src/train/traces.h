/* Steps of a training that are traced (timeline.h): of each profiling.profile_freq the last profiler_active,
 * after profiler_warmup that are looked at in the same way and not written.
 *
 *     step   1 .. freq - active - warmup | warmup | active |
 *            nothing is different        | looked at       | -> iteration_<freq>/rank<r>_trace.json
 *
 * Each rank writes its own file; rank 0 then joins them in trace.json, so that one page shows who waited for
 * whom: times are since the ranks met at the window's begin. What cannot be written is a warning and no end
 * of the training.
 */
#ifndef SY_TRAIN_TRACES_H
#define SY_TRAIN_TRACES_H

#include "train/metrics.h"

struct sy_traces {
    struct sy_session *session; /* NULL: nothing is traced */
    const char *run_dir;
    const struct sy_log *log;
    struct sy_profile *profile;
    struct sy_timeline timeline;
    double began;                                           /* the step */
    struct sy_profile_tally part[SY_N_COLUMNS][SY_N_PARTS]; /* of the newest step that was profiled */
    double seconds;                                         /* it took; 0: none was */
    int64_t profiled;                                       /* which one */
    int looks, opened, bad; /* at this step; a window is under way; a file could not be written */
};

/* Local. Nothing is done if profiling.enable_profiling is off. Warns (rank 0) if no step from first_step
 * (from 1) on is traced. Errors: ERR_MEMORY. session, run_dir and log must outlive it. */
sy_status sy_traces_open(struct sy_session *session, const char *run_dir, int64_t first_step,
                         const struct sy_log *log, struct sy_traces *out);
void sy_traces_close(struct sy_traces *t); /* after the session; {0} is fine */

/* Collective in a window's first step. Before and after a step (from 1), whether it failed or not. Errors: of
 * the communicator. */
sy_status sy_traces_before(struct sy_traces *t, int64_t step);
void sy_traces_after(struct sy_traces *t, int64_t step);
/* Collective. When the step's time was taken: a window that ended with it is written, and to the metrics (rank
 * 0's, else NULL) a line of kind "profile": the parts of the last step that was not written, or of the last
 * one without a warm-up. On a GPU there is none: its host does not know them. Errors: of the communicator,
 * ERR_IO of the metrics. */
sy_status sy_traces_write(struct sy_traces *t, int64_t step, struct sy_metrics *metrics);

#endif
