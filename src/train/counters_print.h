/* The counters of the MoE layers as a table for people. */
#ifndef SY_TRAIN_COUNTERS_PRINT_H
#define SY_TRAIN_COUNTERS_PRINT_H

#include "base/status.h"
#include "moe/counters.h"

/* Local. Name, value and meaning of every counter in 80 columns; those that are not zero first. */
void sy_counters_print(const struct sy_moe_counters *counters, sy_write_fn write, void *user);

#endif
