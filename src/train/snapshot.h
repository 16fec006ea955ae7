/* What memory a rank has over a step, with profiling.enable_memory_snapshot: every profiling.profile_freq
 * steps its arenas by name and tag (device/held.h), and what the system and the heap have before and after
 * the step.
 *
 *     <run>/memory_snapshot/iteration_N/rank<r>_memory_snapshot.json    each rank's
 *     metrics.jsonl, kind "memory"                                      rank 0's, for the report
 *
 * A step takes nothing: what grows in it is what this is to show. What cannot be written is a warning.
 */
#ifndef SY_TRAIN_SNAPSHOT_H
#define SY_TRAIN_SNAPSHOT_H

#include "train/metrics.h"

struct sy_snapshot {
    const struct sy_session *session; /* NULL: none is written */
    const char *run_dir;
    const struct sy_log *log;
    int64_t resident, heap; /* before the step */
};

/* Local. Off without profiling.enable_memory_snapshot. session, run_dir and log outlive it. */
struct sy_snapshot sy_snapshot_of(const struct sy_session *session, const char *run_dir,
                                  const struct sy_log *log);

/* Local. Before and after a step (from 1). metrics: rank 0's, else NULL. Errors: ERR_IO of the metrics. */
void sy_snapshot_before(struct sy_snapshot *s, int64_t step);
sy_status sy_snapshot_after(struct sy_snapshot *s, int64_t step, struct sy_metrics *metrics);

#endif
