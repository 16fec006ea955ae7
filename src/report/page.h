/* Text of a page on its way into memory, and the pieces that all its parts are made of. Private to
 * report/. */
#ifndef SY_REPORT_PAGE_H
#define SY_REPORT_PAGE_H

#include "base/text.h"
#include "report/internal.h"

/* An axis: values low … high, ticks where a reader expects them. A logarithmic one has positive values. */
enum { SY_MAX_TICKS = 8 };
struct sy_axis {
    double low, high;
    int is_log, n_ticks;
    double tick[SY_MAX_TICKS];
};

struct sy_page {
    struct sy_text text;
    const struct sy_report_run *run; /* [n_runs] */
    int n_runs;
    int64_t first, last; /* steps of the x axis */
    struct sy_axis x;
    int thin_curves, thin_balance; /* columns that are drawn as one */
};

void sy_page_put(struct sy_page *p, const char *fmt, ...) SY_PRINTF(2, 3); /* at most 4095 bytes */
/* A text from outside: &, <, >, quotes as entities, no control characters; any place between tags or in
 * quotes. */
void sy_page_text(struct sy_page *p, const char *text);
void sy_page_real(struct sy_page *p, double x); /* JSON, as metrics.jsonl has it; null */

enum { SY_SHORT = 32 };
/* A number for a reader: four digits, k M G T beyond 9999, powers of ten below 0.001. */
const char *sy_short(double x, char out[SY_SHORT]);
/* An integer with thin spaces between thousands. */
const char *sy_spaced(int64_t n, char out[SY_SHORT]);

struct sy_axis sy_axis_linear(double low, double high, int ticks);
struct sy_axis sy_axis_log(double low, double high);
/* Where a value is: 0 at low, 1 at high. */
double sy_axis_at(const struct sy_axis *axis, double value);
/* The axis of all steps. */
struct sy_axis sy_axis_steps(const struct sy_page *p);

/* Figures. */
void sy_put_charts(struct sy_page *p);
void sy_put_loads(struct sy_page *p);
void sy_put_x_ticks(struct sy_page *p);
void sy_put_marks(struct sy_page *p); /* what happened, inside an SVG */

/* A line of a row of a grid, and where `band`, what lies between min and max: the d of a path, in a box of
 * SY_BOX_W x SY_BOX_H. */
enum { SY_BOX_W = 4000, SY_BOX_H = 1000 };
struct sy_trace {
    const struct sy_grid *grid;
    int row, thin;
    struct sy_axis y;
};
void sy_put_line(struct sy_page *p, const struct sy_trace *trace);
void sy_put_band(struct sy_page *p, const struct sy_trace *trace);
void sy_put_smooth(struct sy_page *p, const struct sy_trace *trace);

/* Tables. */
void sy_put_summary(struct sy_page *p);
void sy_put_happened(struct sy_page *p);
void sy_put_parts(struct sy_page *p);
void sy_put_memory(struct sy_page *p);
void sy_put_digests(struct sy_page *p);
sy_status sy_put_config(struct sy_page *p);

/* What the script shows. */
void sy_put_data(struct sy_page *p);

/* A picture of width x height indices into a palette of 256, as base64 of a PNG. Errors: ERR_MEMORY. */
struct sy_picture {
    int width, height;
    const unsigned char *index;  /* [height, width] */
    const unsigned char *colour; /* [256, 3]; index 0 is transparent */
};
void sy_put_png(struct sy_page *p, const struct sy_picture *picture);

/* Style and script, from page.css and page.js. */
extern const char sy_page_css[], sy_page_js[];

#endif
