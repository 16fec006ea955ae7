/* The main job step by step, on one rank: what sy_train does in its loop, when the caller says so. The run's
 * folder, log, metrics, report and alerts are those of sy_train. */
#ifndef SY_TRAIN_TRAINER_H
#define SY_TRAIN_TRAINER_H

#include "train/session.h"

struct sy_trainer;

/* Local. As sy_train up to its first step; `config` outlives it, io (NULL: none) is copied. Errors: those of
 * sy_train; ERR_USAGE ranks. */
sy_status sy_trainer_open(struct sy_config *config, const char *name, const struct sy_io *io,
                          struct sy_trainer **out);
/* Local. Saves nothing. The status of what failed before, or that of the run's last lines. */
sy_status sy_trainer_close(struct sy_trainer *trainer);

/* Local. One step. After an error, which saves what was before it, nothing but close is done. Errors: those
 * of sy_train; ERR_USAGE the run has all its steps. */
sy_status sy_trainer_step(struct sy_trainer *trainer, struct sy_step_result *out);
sy_status sy_trainer_save(struct sy_trainer *trainer);
/* Local. As validation does. Errors: ERR_USAGE nothing is held out. */
sy_status sy_trainer_eval(struct sy_trainer *trainer, double *loss);

/* The weights are no longer those of a checkpoint; their digest. */
void sy_trainer_changed(struct sy_trainer *trainer, const char *weights_digest);

struct sy_session *sy_trainer_session(struct sy_trainer *trainer);
struct sy_train_summary *sy_trainer_summary(struct sy_trainer *trainer);

#endif
