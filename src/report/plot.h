/* A run in characters: loss over steps, and per MoE layer the load of its experts. */
#ifndef SY_REPORT_PLOT_H
#define SY_REPORT_PLOT_H

#include "base/text.h"
#include "report/run.h"

struct sy_plot_shape {
    int width, height; /* of a line; of the loss, in lines */
    int64_t layer;     /* negative: the first four MoE layers */
    int utf8;          /* blocks and shades; else ASCII */
};

/* Local. No line is wider than shape->width, which is at least 1. Errors: ERR_MEMORY, ERR_RUNTIME no steps yet,
 * ERR_USAGE no such layer. */
sy_status sy_report_plot(const struct sy_report_run *run, const struct sy_plot_shape *shape,
                         struct sy_text *out);

#endif
