/* The story of every expert: per MoE layer a heat map of load, experts down, steps across, and below it how
 * even the load is. See page.h.
 *
 * A cell's colour is the last load of its column over the mean of the experts of that step: dark blue few,
 * grey even, yellow twice the mean or more; lightness alone tells them apart (eyes that see no red and
 * green, paper). No load at all is black.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/page.h"

enum { OPEN_LAYERS = 4, EMPTY = 0, DEAD = 1, FIRST = 2, LAST = 255 };

static void colours(unsigned char out[3 * 256]) {
    static const unsigned char stop[5][3] = {
        {0x1c, 0x3f, 0x72}, {0x4c, 0x67, 0x8a}, {0x8a, 0x8d, 0x88}, {0xc4, 0xb2, 0x6c}, {0xf8, 0xe1, 0x5a}};
    memset(out, 0, 3 * 256);
    out[3 * DEAD] = out[3 * DEAD + 1] = out[3 * DEAD + 2] = 8;
    for (int i = FIRST; i <= LAST; i++) {
        double at = 4.0 * (i - FIRST) / (LAST - FIRST);
        int k = at >= 4 ? 3 : (int)at;
        for (int c = 0; c < 3; c++)
            out[3 * i + c] = (unsigned char)lround(stop[k][c] + (at - k) * (stop[k + 1][c] - stop[k][c]));
    }
}

static int index_of(double load, double mean) {
    double share = load / mean;
    if (load <= 0)
        return DEAD;
    return FIRST + (int)lround((share > 2 ? 2 : share) / 2 * (LAST - FIRST));
}

static void column(const struct sy_page *p, const struct sy_report_run *r, const struct sy_report_layer *l,
                   int c, unsigned char *out, int stride) {
    double sum = 0;
    int first = l->first + SY_N_BALANCES;
    for (int e = 0; e < l->experts; e++)
        sum += sy_grid_at(&r->balance, first + e, c, p->thin_balance).last;
    for (int e = 0; e < l->experts; e++) {
        struct sy_bucket b = sy_grid_at(&r->balance, first + e, c, p->thin_balance);
        out[e * stride] = (unsigned char)(b.n && sum > 0 ? index_of(b.last, sum / l->experts) : EMPTY);
    }
}

static void heat_map(struct sy_page *p, const struct sy_report_run *r, const struct sy_report_layer *l) {
    unsigned char palette[3 * 256];
    int n = sy_grid_columns(&r->balance, p->thin_balance);
    unsigned char *cells = calloc((size_t)n * (size_t)l->experts, 1);
    if (!cells) {
        p->text.failed = 1;
        return;
    }
    colours(palette);
    for (int c = 0; c < n; c++)
        column(p, r, l, c, cells + c, n);
    sy_page_put(p, "<img alt=\"\" src=\"data:image/png;base64,");
    sy_put_png(p, &(struct sy_picture){n, l->experts, cells, palette});
    sy_page_put(p, "\">");
    free(cells);
}

/* The columns of the loads end where the picture does: at the end of the last column. */
static void place_of(const struct sy_page *p, const struct sy_grid *g, double *left, double *width) {
    double column = (double)(g->width * p->thin_balance), n = sy_grid_columns(g, p->thin_balance);
    double first = (double)g->base - 0.5, span = (double)(p->last > p->first ? p->last - p->first : 1);
    *left = 100 * (first - (double)p->first) / span;
    *width = 100 * n * column / span;
}

static void figure(struct sy_page *p, const struct sy_report_run *r, const struct sy_report_layer *l,
                   int run) {
    char number[SY_SHORT];
    double left, width;
    int height = l->experts * 14;
    height = height > 320 ? 320 : height < 60 ? 60 : height;
    place_of(p, &r->balance, &left, &width);
    sy_page_put(
        p,
        "<figure class=heat data-run=%d data-layer=%lld><div class=plot tabindex=0 role=img aria-label=\""
        "Load of the %d experts of layer %lld by step\"><div class=\"y ids\" aria-hidden=true>",
        run, (long long)l->layer, l->experts, (long long)l->layer);
    int every = l->experts <= 8 ? 1 : l->experts <= 64 ? l->experts / 8 : l->experts / 4;
    for (int e = 0; e < l->experts; e += every)
        sy_page_put(p, "<span style=top:%.2f%%>%s</span>", 100 * (e + 0.5) / l->experts,
                    sy_spaced(e, number));
    sy_page_put(p,
                "</div><div class=area style=height:%dpx><div class=clipped><div class=map "
                "style=\"left:%.4f%%;width:%.4f%%\">",
                height, left, width);
    heat_map(p, r, l);
    sy_page_put(p, "</div></div><svg viewBox=\"0 0 %d %d\" preserveAspectRatio=none aria-hidden=true>",
                SY_BOX_W, SY_BOX_H);
    sy_put_marks(p);
    sy_page_put(p, "</svg></div>");
    sy_put_x_ticks(p);
    sy_page_put(p, "</div><p class=read></p></figure>");
}

/* --- how even it is --------------------------------------------------------------------------- */

static void small_line(struct sy_page *p, const struct sy_report_run *r, int row, struct sy_axis y, int s) {
    struct sy_trace t = {&r->balance, row, p->thin_balance, y};
    if (r->balance.width * p->thin_balance > 1) {
        sy_page_put(p, "<path class=\"band s%d\" d=\"", s);
        sy_put_band(p, &t);
        sy_page_put(p, "\"/>");
    }
    sy_page_put(p, "<path class=\"line s%d\" d=\"", s);
    sy_put_line(p, &t);
    sy_page_put(p, "\"/>");
}

/* Rows `row` and, if different, `second`, on one axis. */
static void small(struct sy_page *p, const struct sy_report_run *r, const struct sy_report_layer *l, int run,
                  const int row[2]) {
    char a[SY_SHORT], b[SY_SHORT];
    const struct sy_balance_about *about = &sy_balances[row[0]];
    struct sy_bucket all = sy_grid_all(&r->balance, l->first + row[0]),
                     also = sy_grid_all(&r->balance, l->first + row[1]);
    if (all.n == 0)
        return;
    all.min = also.n && also.min < all.min ? also.min : all.min;
    all.max = also.n && also.max > all.max ? also.max : all.max;
    double room = 0.06 * (all.max - all.min);
    double low = row[0] == SY_BALANCE_entropy || all.min < 0 ? all.min - room : 0;
    struct sy_axis y = sy_axis_linear(low, all.max > low ? all.max + room : low + 1, 2);
    const char *title = row[0] == row[1] ? about->text : "expert bias, smallest and largest";
    sy_page_put(p,
                "<figure class=\"chart small\" data-run=%d data-layer=%lld data-rows=\"%d "
                "%d\"><figcaption><h4>%s</h4>",
                run, (long long)l->layer, row[0], row[1], title);
    sy_page_put(p,
                "</figcaption><div class=plot tabindex=0 role=img aria-label=\"%s of layer %lld by step: "
                "lowest %s, highest %s\">",
                title, (long long)l->layer, sy_short(all.min, a), sy_short(all.max, b));
    sy_page_put(p, "<div class=y aria-hidden=true>");
    for (int i = 0; i < y.n_ticks; i++)
        sy_page_put(p, "<span style=top:%.2f%%>%s</span>", 100 * (1 - sy_axis_at(&y, y.tick[i])),
                    sy_short(y.tick[i], a));
    sy_page_put(p,
                "</div><div class=area><svg viewBox=\"0 0 %d %d\" preserveAspectRatio=none aria-hidden=true "
                "data-low=%.9g data-high=%.9g>",
                SY_BOX_W, SY_BOX_H, y.low, y.high);
    sy_put_marks(p);
    small_line(p, r, l->first + row[0], y, 0);
    if (row[1] != row[0] && also.n)
        small_line(p, r, l->first + row[1], y, 0);
    sy_page_put(p, "</svg></div></div><p class=read></p></figure>");
}

static void layer(struct sy_page *p, const struct sy_report_run *r, const struct sy_report_layer *l,
                  int run) {
    static const int pairs[][2] = {{SY_BALANCE_cv, SY_BALANCE_cv},
                                   {SY_BALANCE_entropy, SY_BALANCE_entropy},
                                   {SY_BALANCE_dead, SY_BALANCE_dead},
                                   {SY_BALANCE_bias_min, SY_BALANCE_bias_max}};
    char cv[SY_SHORT], entropy[SY_SHORT], dead[SY_SHORT];
    sy_page_put(p,
                "<details%s><summary><b>Layer %lld</b> <span>%d experts</span> <span>cv %s</span> "
                "<span>entropy %s</span> <span>dead %s</span></summary>",
                r->n_layers <= OPEN_LAYERS && p->n_runs == 1 ? " open" : "", (long long)l->layer, l->experts,
                sy_short(sy_grid_all(&r->balance, l->first + SY_BALANCE_cv).last, cv),
                sy_short(sy_grid_all(&r->balance, l->first + SY_BALANCE_entropy).last, entropy),
                sy_short(sy_grid_all(&r->balance, l->first + SY_BALANCE_dead).last, dead));
    if (l->experts > 0)
        figure(p, r, l, run);
    sy_page_put(p, "<div class=smalls>");
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        small(p, r, l, run, pairs[i]);
    sy_page_put(p, "</div></details>\n");
}

static void scale(struct sy_page *p) {
    sy_page_put(p, "<p class=scale><span class=none></span>no load<span class=few>few</span>"
                   "<span class=ramp></span>twice the mean or more</p>");
}

void sy_put_loads(struct sy_page *p) {
    int any = 0;
    for (int i = 0; i < p->n_runs; i++)
        any += p->run[i].n_layers;
    if (!any)
        return;
    sy_page_put(
        p, "<section class=experts aria-labelledby=h-experts><h2 id=h-experts>Experts</h2><p class=note>How "
           "many tokens each expert got: experts down, steps across, from the load of every step. The "
           "colour is the last load of a column against the mean of its layer.</p>");
    scale(p);
    for (int i = 0; i < p->n_runs; i++) {
        const struct sy_report_run *r = &p->run[i];
        if (p->n_runs > 1 && r->n_layers) {
            sy_page_put(p, "<h3>");
            sy_page_text(p, r->name);
            sy_page_put(p, "</h3>");
        }
        for (int l = 0; l < r->n_layers; l++)
            layer(p, r, &r->layer[l], i);
    }
    sy_page_put(p, "</section>\n");
}
