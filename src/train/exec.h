/* The exec of a rank, as its configuration says: device, ops, threads, scratch. */
#ifndef SY_TRAIN_EXEC_H
#define SY_TRAIN_EXEC_H

#include "train/session.h"

/* A rank's share of the process's threads, at least one. */
int sy_exec_threads(const struct sy_config *config, const struct sy_mesh *mesh);

/* The GPU of a rank: of run.device = cuda the next usable one, of cuda:N the next number. -1: there is none;
 * of another device, too. */
int sy_exec_gpu(const struct sy_config *config, int rank);

/* A GPU's ops share one workspace; a CPU's have one a thread. */
char *sy_exec_take_scratch(const struct sy_config *config, int threads, size_t bytes, struct sy_arena *arena);

/* Local. The session's, whose calls are known. Errors: of the device, ERR_MEMORY. Closed with the session. */
sy_status sy_exec_open(struct sy_session *s);

/* Local. One to measure with, for passes of at most `sequences`. *own: to be destroyed, or NULL. */
sy_status sy_exec_plan(const struct sy_config *config, int64_t sequences, struct sy_device **own,
                       struct sy_exec *x);

#endif
