/* A run in characters: see plot.h.
 *
 *     a  step 20 of 20  loss 5.9292  held-out 5.9527
 *      6.26 ▂▆▃▁
 *           █████▆▅▅▃▄▃▂▂▂▁          columns of equal numbers of steps: the last value of each
 *      5.92 ████████████████▇▇▆▆
 *     layer 1  cv 0.45  dead 0
 *         0 ░▒▒▓▓▒▒…                 an expert's load: ░ a quarter of the mean, ▒ half, ▓ the mean, █ more
 */
#include "report/plot.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "report/internal.h"

enum { LABEL = 9, NARROW = 24, MAX_ROWS = 16, SHOWN_LAYERS = 4, MAX_WIDTH = 4096 };

struct plot {
    struct sy_text *text;
    const struct sy_plot_shape *shape;
    int label, columns;
};

static const char *const blocks[2][9] = {{" ", ".", ".", ":", ":", "|", "|", "#", "#"},
                                         {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"}};
static const char *const shades[2][5] = {{" ", ".", ":", "+", "#"}, {" ", "░", "▒", "▓", "█"}};

static void add(struct plot *p, const char *s) { sy_text_add(p->text, s, strlen(s)); }

/* A line of text, cut at the width: a character of UTF-8 is taken for one column. */
static void line(struct plot *p, const char *fmt, ...) SY_PRINTF(2, 3);
static void line(struct plot *p, const char *fmt, ...) {
    char s[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(s, sizeof s, fmt, args);
    va_end(args);
    size_t at = 0, n = sy_utf8_span(s, strlen(s));
    for (int columns = 0; at < n && columns < p->shape->width; columns++) {
        at++;
        while (at < n && ((unsigned char)s[at] & 0xc0) == 0x80)
            at++;
    }
    for (size_t i = 0; i < at; i++) /* a name may have any characters */
        s[i] = (unsigned char)s[i] < 32 || s[i] == 127 ? '?' : s[i];
    sy_text_add(p->text, s, at);
    add(p, "\n");
}

static void label(struct plot *p, const char *s) {
    char padded[64];
    snprintf(padded, sizeof padded, "%*.*s ", LABEL - 1, LABEL - 1, s);
    if (p->label)
        add(p, padded);
}

/* Column c of `columns`: the bucket of the steps that it stands for. */
static struct sy_bucket column(const struct plot *p, const struct sy_grid *g, int row, int c) {
    struct sy_bucket b = {0}, part;
    int from = (int)((int64_t)c * g->n / p->columns), to = (int)((int64_t)(c + 1) * g->n / p->columns);
    for (int i = from; i < (to > from ? to : from + 1) && i < g->n; i++)
        if ((part = sy_grid_at(g, row, i, 1)).n)
            b = part;
    return b;
}

/* --- loss --------------------------------------------------------------------------------------- */

static void curve(struct plot *p, const struct sy_grid *g, int row, const struct sy_bucket *all) {
    char text[64];
    int height = p->shape->height;
    double span = all->max > all->min ? all->max - all->min : 1;
    for (int y = height - 1; y >= 0; y--) {
        snprintf(text, sizeof text, "%.4g", y == 0 ? all->min : all->max);
        label(p, y == 0 || y == height - 1 ? text : "");
        for (int c = 0; c < p->columns; c++) {
            struct sy_bucket b = column(p, g, row, c);
            int eighths = b.n ? 1 + (int)lround((b.last - all->min) / span * (8 * height - 1)) - 8 * y : 0;
            add(p, blocks[p->shape->utf8 != 0][eighths < 0 ? 0 : eighths > 8 ? 8 : eighths]);
        }
        add(p, "\n");
    }
}

/* --- loads -------------------------------------------------------------------------------------- */

static int shade_of(double load, double mean) {
    double share = load / mean;
    return load <= 0 ? 0 : share < 0.375 ? 1 : share < 0.75 ? 2 : share < 1.25 ? 3 : 4;
}

/* Experts first … last - 1 in a row: their mean. */
static void experts(struct plot *p, const struct sy_grid *g, const struct sy_report_layer *l, int first,
                    int last) {
    char text[64];
    snprintf(text, sizeof text, last - first > 1 ? "%d-%d" : "%d", first, last - 1);
    label(p, text);
    for (int c = 0; c < p->columns; c++) {
        double sum = 0, all = 0;
        int known = 0;
        for (int e = 0; e < l->experts; e++) {
            struct sy_bucket b = column(p, g, l->first + SY_N_BALANCES + e, c);
            known |= b.n > 0;
            all += b.last;
            sum += e >= first && e < last ? b.last : 0;
        }
        int shade = known && all > 0 ? shade_of(sum / (last - first), all / l->experts) : 0;
        add(p, known ? shades[p->shape->utf8 != 0][shade] : "-");
    }
    add(p, "\n");
}

static void layer(struct plot *p, const struct sy_report_run *r, const struct sy_report_layer *l) {
    int rows = l->experts < MAX_ROWS ? l->experts : MAX_ROWS;
    line(p, "layer %lld  cv %.2f  dead %.0f", (long long)l->layer,
         sy_grid_all(&r->balance, l->first + SY_BALANCE_cv).last,
         sy_grid_all(&r->balance, l->first + SY_BALANCE_dead).last);
    for (int i = 0; i < rows; i++)
        experts(p, &r->balance, l, (int)((int64_t)i * l->experts / rows),
                (int)((int64_t)(i + 1) * l->experts / rows));
}

static sy_status layers(struct plot *p, const struct sy_report_run *r) {
    int64_t wanted = p->shape->layer;
    int shown = 0;
    for (int i = 0; i < r->n_layers; i++)
        if (wanted < 0 ? shown < SHOWN_LAYERS : r->layer[i].layer == wanted) {
            layer(p, r, &r->layer[i]);
            shown++;
        }
    if (wanted >= 0 && !shown)
        SY_FAIL(SY_ERR_USAGE, "layer %lld: has no loads in %s", (long long)wanted, r->lines.path);
    if (wanted < 0 && r->n_layers > shown)
        line(p, "%d more layers: --layer L shows one", r->n_layers - shown);
    return SY_OK;
}

/* --- all of it ---------------------------------------------------------------------------------- */

static void head(struct plot *p, const struct sy_report_run *r) {
    char of[40] = "", loss[48] = "", eval[48] = "";
    struct sy_bucket train = sy_grid_all(&r->curves, SY_CURVE_loss);
    struct sy_bucket heldout = sy_grid_all(&r->curves, SY_CURVE_eval);
    if (sy_report_run_steps(r))
        snprintf(of, sizeof of, " of %lld", (long long)sy_report_run_steps(r));
    if (train.n)
        snprintf(loss, sizeof loss, "  loss %.4f", train.last);
    if (heldout.n)
        snprintf(eval, sizeof eval, "  held-out %.4f", heldout.last);
    line(p, "%.100s  step %lld%s%s%s", r->name, (long long)r->last, of, loss, eval);
}

sy_status sy_report_plot(const struct sy_report_run *r, const struct sy_plot_shape *shape,
                         struct sy_text *out) {
    struct plot p = {.text = out, .shape = shape, .label = shape->width >= NARROW ? LABEL : 0};
    struct sy_bucket all = sy_grid_all(&r->curves, SY_CURVE_loss);
    p.columns = shape->width < MAX_WIDTH ? shape->width - p.label : MAX_WIDTH;
    if (!r->n_steps)
        SY_FAIL(SY_ERR_RUNTIME, "%s: has no steps yet", r->dir);
    head(&p, r);
    if (all.n)
        curve(&p, &r->curves, SY_CURVE_loss, &all);
    SY_TRY(layers(&p, r));
    if (out->failed)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for a plot of %d columns", shape->width);
    return SY_OK;
}
