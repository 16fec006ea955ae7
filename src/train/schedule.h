/* Learning rate by step (NUMERICS 3, "Learning rate"), in fp64 by our own functions. */
#ifndef SY_TRAIN_SCHEDULE_H
#define SY_TRAIN_SCHEDULE_H

#include "base/log.h"
#include "config/config.h"

/* Local. Step s from 0 of `total`: optimizer.lr times warm-up, stable part or decay. */
double sy_schedule_lr(const struct sy_config_lr_scheduler *schedule, double lr, int64_t s, int64_t total);

/* Local. A warning if warm-up and decay do not both fit into `total` steps as they were asked for. */
void sy_schedule_warn(const struct sy_config_lr_scheduler *schedule, int64_t total, const struct sy_log *log);

#endif
