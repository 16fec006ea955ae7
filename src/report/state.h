/* Where a run stands, without reading all of it. */
#ifndef SY_REPORT_STATE_H
#define SY_REPORT_STATE_H

#include "base/status.h"

struct sy_run_state {
    int64_t step, steps, tokens; /* of the last step; training.steps, 0: unknown */
    double loss;                 /* NaN */
    char digest[33];
    int is_running; /* a process trains there */
};

/* Local. From the end of metrics.jsonl, config.toml and the lock. step 0: no step yet. Errors: ERR_IO no
 * metrics.jsonl, ERR_DATA its last lines are not as the trainer writes them, ERR_MEMORY. */
sy_status sy_run_state_read(const char *dir, struct sy_run_state *out);

/* Local. Whether a process holds the run's lock; asks nobody, so that it disturbs none that starts. */
int sy_run_is_live(const char *dir);

/* "running", "done" or "stopped"; "new" without a step. */
const char *sy_run_state_word(const struct sy_run_state *state);

#endif
