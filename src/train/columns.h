/* The progress of a run as a table: a head that says the units once, then a line a step.
 *
 *       step    loss  |grad|      lr tok/s FLOP/s %peak  left bytes   cv  dead
 *     12/200  5.9123    1.23 8.0e-04 26.8k   174G   27%  0:12 8.37M 0.51     0
 *
 * The columns that fit are chosen once: those that matter most first. Every line is then as wide as the
 * head.
 */
#ifndef SY_TRAIN_COLUMNS_H
#define SY_TRAIN_COLUMNS_H

#include "base/status.h"

enum { SY_LINE_BYTES = 128, SY_LINE_COLUMNS = 79 };

struct sy_columns {
    unsigned shown; /* a bit a column */
    int step_width; /* of "12/200" at the last step */
    int columns;    /* no line is longer */
    int64_t steps;
};

struct sy_figures {
    int64_t step;
    double loss, norm, lr;  /* loss and norm may be NaN */
    double tps, flops, mfu; /* tokens a second, FLOP/s, percent of the measured peak */
    double left;            /* seconds to the last step */
    double bytes;           /* most memory so far */
    int counted;            /* cv and dead are known */
    double cv;              /* of the layers the largest standard deviation / mean of the experts' loads */
    int64_t dead;           /* experts without a route, summed over layers */
    int64_t batch;          /* sequences of the step */
};

/* Local. For lines of at most `columns` (0: 79; more than 79 are not needed). what: BALANCE there are MoE
 * layers, BATCH it changes. */
enum { SY_COLUMNS_BALANCE = 1, SY_COLUMNS_BATCH = 2 };
struct sy_columns sy_columns_choose(int64_t steps, int what, int columns);

void sy_columns_head(const struct sy_columns *c, char out[SY_LINE_BYTES]);
void sy_columns_line(const struct sy_columns *c, const struct sy_figures *f, char out[SY_LINE_BYTES]);

#endif
