/* metrics.jsonl: one JSON object a line, in the order of steps; the names are those of docs/ and fixed.
 *
 * A resumed run moves lines past its step to metrics.jsonl.replaced, so that the file always tells one
 * history.
 */
#ifndef SY_TRAIN_METRICS_H
#define SY_TRAIN_METRICS_H

#include <stdio.h>

#include "moe/counters.h"
#include "train/session.h"

struct sy_load { /* of one MoE layer in one step */
    int layer;
    int64_t min, max, dead; /* routes an expert got; experts that got none */
    double cv, entropy;     /* standard deviation / mean; entropy / log E */
};

struct sy_load sy_load_of(int layer, const int64_t *counts, int64_t experts);

struct sy_metrics_times {
    double tps, tps_total, tflops, mfu, step_ms, data_ms;
    int64_t mem_bytes;
};

struct sy_metrics {
    FILE *file;
    char path[4200];
    char start[512]; /* of the next line; "": none */
};

/* Local. Opens <dir>/metrics.jsonl for appending after `step`; later lines and a torn last one go to
 * metrics.jsonl.replaced. Errors: ERR_IO. */
sy_status sy_metrics_open(const char *dir, int64_t step, struct sy_metrics *out);
/* Local. Does nothing the second time. Errors: ERR_IO (a network's disk may say so only now). */
sy_status sy_metrics_close(struct sy_metrics *m);

/* Local. The next step's line says that a process began there, and how: "start", with recipe_id, ranks and
 * their axes, threads, device, class and tier. */
void sy_metrics_start(struct sy_metrics *m, const struct sy_session *s, const char *recipe_id);

/* Local. Writes a step's line and flushes it; of each MoE layer also "load": the routes of every expert in
 * the step's global batch, in the order of their ids; and, of layers with an expert bias that this rank has,
 * its smallest and largest value after the step. Errors: ERR_IO (disk full), those of the device. */
sy_status sy_metrics_step(struct sy_metrics *m, struct sy_session *s, const struct sy_step_result *r,
                          const struct sy_metrics_times *t);
sy_status sy_metrics_eval(struct sy_metrics *m, int64_t step, double loss, int64_t tokens);

/* Local. Writes a line that is made: a JSON object with "kind" and "step". Errors: ERR_IO. */
sy_status sy_metrics_event(struct sy_metrics *m, const char *line);

/* Local. Writes what was counted in this process up to `step`, at exit:
 * {"kind":"counters","step":N,"counters":{...}}. A resume from N or later keeps the line, one from before
 * moves it away with the steps that it is about. Errors: ERR_IO. */
sy_status sy_metrics_counters(struct sy_metrics *m, int64_t step, const struct sy_moe_counters *counters);

#endif
