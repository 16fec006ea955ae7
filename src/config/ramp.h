/* training.batch_ramp: rows "STEPS: SEQUENCES"; after so many steps a step has so many sequences. */
#ifndef SY_CONFIG_RAMP_H
#define SY_CONFIG_RAMP_H

#include "config/config.h"

enum { SY_RAMP_MOST_STEPS = 1000000000, SY_RAMP_MOST_BATCH = 1 << 24 };

struct sy_ramp_row {
    int64_t after, batch;
};

/* Local. Errors: ERR_USAGE what is none. */
sy_status sy_ramp_parse(const char *text, struct sy_ramp_row *out);

/* Local. The rows together: the first is after 0 steps, each later one after more. Errors: ERR_USAGE names
 * the row. */
sy_status sy_ramp_check(const struct sy_config_list *ramp);

/* Of rows that sy_ramp_check lets pass, at least one: the most sequences of a step; what divides those of
 * all. */
int64_t sy_ramp_most(const struct sy_config_list *ramp);
int64_t sy_ramp_divisor(const struct sy_config_list *ramp);

/* Sequences of a step, from 0; of the steps first .. end - 1, INT64_MAX if that cannot be counted. */
int64_t sy_step_sequences(const struct sy_config_training *training, int64_t step);
int64_t sy_steps_sequences(const struct sy_config_training *training, int64_t first, int64_t end);

#endif
