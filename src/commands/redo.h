/* A run as it was before a step, to do the step again: the config that it had, the checkpoint before it,
 * its sessions. Nothing is written to the run. */
#ifndef SY_COMMANDS_REDO_H
#define SY_COMMANDS_REDO_H

#include "train/resume.h"

/* Local. The configuration with which step `last` of the run was done, finished: of its first checkpoint
 * at or after it, or config.toml. *where: of it, for messages. Errors: ERR_IO, ERR_DATA, ERR_USAGE. */
sy_status sy_redo_config(const char *run, int64_t last, struct sy_config *was,
                         char where[SY_CKPT_PATH_BYTES]);

/* Local. The newest whole checkpoint of fewer than `before` steps; resume->ckpt NULL: none. Errors: ERR_IO,
 * ERR_MEMORY. */
sy_status sy_redo_find(const char *run, int64_t before, const struct sy_log *log, struct sy_resume *resume);

/* Collective over the world, which outlives it; NULL: one rank, whatever the config says of ranks. A
 * session that has done *step steps; log NULL: of a rank that says nothing. Owned by the caller. Errors:
 * those of session and resume. */
sy_status sy_redo_start(struct sy_config *config, const struct sy_log *log, struct sy_resume *resume,
                        const struct sy_comm *world, struct sy_session **out, int64_t *step);

#endif
