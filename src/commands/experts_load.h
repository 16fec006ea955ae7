/* The load of every expert over time, read from metrics.jsonl.
 *
 * The steps from the first to the last that have loads are cut into equal buckets; kept are one sum per
 * (layer, bucket, expert), whatever the file's length. The file is streamed twice: for the range of its
 * steps, then for the sums. Lines of other kinds are passed over, a torn last line and lines without "load"
 * (of older versions) are counted, anything else that is not as sy_metrics_step writes it is an error with
 * file:line.
 */
#ifndef SY_COMMANDS_EXPERTS_LOAD_H
#define SY_COMMANDS_EXPERTS_LOAD_H

#include "base/status.h"

enum { SY_EXPERTS_BUCKETS = 8 };

struct sy_experts_layer {
    int64_t layer, experts;
    int64_t n_steps, steps[SY_EXPERTS_BUCKETS]; /* that had loads of this layer: in all, in a bucket */
    int64_t step_min, step_max;                 /* routes of an expert in one step */
    double step_cv;                             /* mean over the steps */
    int64_t *bucket;                            /* [SY_EXPERTS_BUCKETS, E] sums */
    int64_t *load;                              /* [E] sums over all */
    int64_t *counts;                            /* [E] scratch */
    int64_t line;                               /* the last that had it */
};

struct sy_experts_load {
    int64_t first, last;       /* steps with loads */
    int64_t n_steps, n_silent; /* lines with loads; lines of steps without */
    int torn;                  /* the last line has no end and is no JSON */
    int n_buckets;
    struct sy_experts_layer *layer; /* ascending */
    int n_layers, capacity;
};

/* Local. Reads a metrics.jsonl. `columns`: what a row's cells may take, each as wide as the last step and
 * a space, at least 6, so that there may be fewer than 8 buckets; 0: 8. Free with sy_experts_load_free,
 * also after an error. Errors: ERR_IO, ERR_DATA, ERR_MEMORY; ERR_RUNTIME no steps yet, or none with loads;
 * ERR_USAGE no MoE layers. */
sy_status sy_experts_load_read(const char *path, int columns, struct sy_experts_load *out);
void sy_experts_load_free(struct sy_experts_load *load);

/* First step of bucket b; of n_buckets: one past the last step. */
int64_t sy_experts_bucket_first(const struct sy_experts_load *load, int b);

/* Columns of a cell. */
int sy_experts_cell(const struct sy_experts_load *load);

#endif
