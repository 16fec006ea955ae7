/* What processes of a run, which may be on many hosts, must have found alike. */
#ifndef SY_TRAIN_PROCESSES_H
#define SY_TRAIN_PROCESSES_H

#include <jansson.h>

#include "comm/comm.h"

/* Collective. Step of the checkpoint that is resumed (0: none), and the fingerprint of the documents. Errors:
 * ERR_DATA names the rank that differs, ERR_MEMORY. */
sy_status sy_processes_compare(const struct sy_comm *world, const char *run_dir, int64_t step,
                               const json_t *documents);

#endif
