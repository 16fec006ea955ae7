/* What a person should hear of: a loss spike, a jump of the gradient norm, a drop of the throughput, load
 * that is uneven, an expert that gets no route. Judged by the steps of a window before, of this process; each kind is
 * silent for as long as the window after it was told. It looks at a step's results and changes nothing.
 */
#ifndef SY_TRAIN_ALERTS_H
#define SY_TRAIN_ALERTS_H

#include <sys/types.h>

#include "train/metrics.h"

/* X(name) */
#define SY_ALERT_LIST(X) X(loss_spike) X(grad_norm_jump) X(throughput_drop) X(load_uneven) X(dead_expert)

enum sy_alert_kind {
#define X(name) SY_ALERT_##name,
    SY_ALERT_LIST(X)
#undef X
        SY_N_ALERTS
};

enum { SY_ALERT_CHILDREN = 8 };

struct sy_alerts {
    const struct sy_config *config;
    const struct sy_log *log;
    int n_layers;                           /* of the model */
    int64_t window, experts, seen, applied; /* steps: with tokens, applied */
    double *loss, *norm, *tps;              /* [window] the last ones, by their number modulo the window */
    double *cv;                             /* [n_layers] sums over the steps since the last look */
    int64_t *silent;                        /* [n_layers, E] steps in a row without a route */
    int64_t cv_steps;                       /* of the sums */
    int64_t quiet_until[SY_N_ALERTS];       /* step */
    int64_t told[SY_N_ALERTS];              /* how often */
    pid_t child[SY_ALERT_CHILDREN];         /* commands that run; 0: none */
};

/* Local. Errors: ERR_MEMORY. sy_alerts_fini (of {0} too). */
sy_status sy_alerts_init(const struct sy_config *config, int n_layers, const struct sy_log *log,
                         struct sy_alerts *out);
void sy_alerts_fini(struct sy_alerts *a);

/* Local. After the step's line: what is to be told goes to the log, to the metrics as a line {"kind":"event",
 * "step", "event", "value", "bound", "text"}, and to run.on_event, which is not waited for. `counts`
 * [n_layers, E] of all ranks. Errors: ERR_IO of the metrics. */
sy_status sy_alerts_step(struct sy_alerts *a, struct sy_metrics *m, const struct sy_step_result *r,
                         const struct sy_metrics_times *times, const int64_t *counts);

#endif
