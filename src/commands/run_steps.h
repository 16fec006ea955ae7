/* What a run's metrics.jsonl says of its steps, in bits: what diff and replay compare. */
#ifndef SY_COMMANDS_RUN_STEPS_H
#define SY_COMMANDS_RUN_STEPS_H

#include <stdint.h>

#include "base/status.h"

enum { SY_RUN_STEP_KEYS = 3, SY_RUN_STEP_VALUE = 33 };
extern const char *const sy_run_step_keys[SY_RUN_STEP_KEYS]; /* loss_bits, grad_norm_bits, weights_digest */

struct sy_run_step {
    int64_t step;
    char value[SY_RUN_STEP_KEYS][SY_RUN_STEP_VALUE]; /* "" where the line has none */
};

struct sy_run_steps {
    struct sy_run_step *step; /* ascending */
    int64_t n, capacity;
};

/* Local. Of the run's folder; *out is {0} before. Owned by the caller, also after an error: free(out->step).
 * Errors: ERR_IO, ERR_DATA names file, line and what is wrong, ERR_MEMORY. */
sy_status sy_run_steps_read(const char *run, struct sy_run_steps *out);

#endif
