/* The ranks of a run: where they come from. */
#ifndef SY_TRAIN_WORLD_H
#define SY_TRAIN_WORLD_H

#include "comm/comm.h"
#include "config/config.h"

/* Runs fn(world, arg) as every rank that the configuration asks of this process: threads (run.ranks), or one.
 * A rank waits for others at most comm.train_timeout_seconds at a time. The status is that of the lowest rank
 * whose fn failed. */
sy_status sy_world_run(const struct sy_config *config,
                       sy_status (*fn)(const struct sy_comm *world, void *arg), void *arg);

#endif
