/* The event file of a run, for TensorBoard: scalars by TorchTitan's names, a histogram of each layer's load over
 * its experts, the configuration as text and as hyperparameters. It never fails a training: what fails is one line
 * in the log, and then nothing more is written. */
#ifndef SY_TRAIN_TENSORBOARD_H
#define SY_TRAIN_TENSORBOARD_H

#include "formats/tfevents.h"
#include "train/metrics.h"

struct sy_tensorboard {
    struct sy_tfevents events; /* its file NULL: none */
    const struct sy_log *log;
};

/* Local. <dir>/<metrics.save_tb_folder>/events.out.tfevents.switchyard, after `step`. */
void sy_tensorboard_open(struct sy_config *config, const char *dir, int64_t step, const struct sy_log *log,
                         struct sy_tensorboard *out);
void sy_tensorboard_step(struct sy_tensorboard *t, const struct sy_session *s, const struct sy_step_result *r,
                         const struct sy_metrics_times *times);
void sy_tensorboard_eval(struct sy_tensorboard *t, int64_t step, double loss);
void sy_tensorboard_close(struct sy_tensorboard *t);

#endif
