/* The numeric class of a configuration as the ops know it: the one place that has both lists; and what "auto"
 * asks of the machine. */
#ifndef SY_TRAIN_CLASSES_H
#define SY_TRAIN_CLASSES_H

#include "config/config.h"
#include "ops/ops.h"

/* Local. numerics.class of a finished configuration. */
enum sy_numeric_class sy_config_numeric_class(const struct sy_config *config);

/* Local. Whether this machine has a GPU that this build has kernels for: for sy_config_finish. */
bool sy_hopper_here(void);

#endif
