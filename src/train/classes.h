/* The numeric class of a configuration as the ops know it: the one place that has both lists. */
#ifndef SY_TRAIN_CLASSES_H
#define SY_TRAIN_CLASSES_H

#include "config/config.h"
#include "ops/ops.h"

/* Local. numerics.class of a finished configuration. */
enum sy_numeric_class sy_config_numeric_class(const struct sy_config *config);

#endif
