/* What `switchyard plan --world N` prints of a run over N ranks: axes, who has what, memory, bytes, time, the
 * schedule's table. */
#ifndef SY_COMMANDS_PLAN_H
#define SY_COMMANDS_PLAN_H

#include "parallel/plan.h"
#include "train/io.h"

/* Local. gpu: a name of parallel/plan_gpus.c, NULL: the first. Errors: ERR_USAGE what cannot be, with the
 * numbers. */
sy_status sy_plan_world(const struct sy_config *config, const struct sy_params *params, int world,
                        const char *gpu, const struct sy_io *io);

/* The table: for each rank what it does in each unit of time (F, I and W take one, B two), below it the
 * micro-batch, and, with several stages a rank, which of them. Cut after a few lines of a long one. */
void sy_plan_print_schedule(const struct sy_schedule *schedule, const struct sy_io *io);

#endif
