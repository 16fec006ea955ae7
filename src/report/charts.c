/* The figures of a run's curves, as SVG: see page.h. Each works without the script, which adds the exact
 * values under a pointer. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/page.h"

struct chart {
    const char *id, *title, *unit, *class;
    enum sy_curve curve[2]; /* the second SY_N_CURVES: none */
    int has_log, has_smooth, from_zero, is_log_first;
};

static const struct chart charts[] = {
    {"loss", "Loss", "nats per token", "wide", {SY_CURVE_loss, SY_CURVE_eval}, 1, 1, 0, 0},
    {"norm", "Gradient norm", "before clipping", "", {SY_CURVE_norm, SY_N_CURVES}, 1, 1, 1, 0},
    {"lr", "Learning rate", "", "", {SY_CURVE_lr, SY_N_CURVES}, 0, 0, 1, 0},
    {"tps", "Tokens per second", "per rank", "", {SY_CURVE_tps, SY_N_CURVES}, 0, 1, 1, 0},
    {"mfu",
     "Share of the peak",
     "% of the FLOP/s of this machine",
     "",
     {SY_CURVE_mfu, SY_N_CURVES},
     0,
     1,
     1,
     0},
    {"step", "Time of a step", "ms, and of that data", "", {SY_CURVE_step_ms, SY_CURVE_data_ms}, 1, 0, 1, 0},
    {"memory", "Memory", "bytes, most so far", "", {SY_CURVE_memory, SY_N_CURVES}, 0, 0, 1, 0},
    {"balance", "Balance loss", "without its coefficient", "", {SY_CURVE_balance, SY_N_CURVES}, 1, 1, 0, 0},
    {"z", "Router z-loss", "without its coefficient", "", {SY_CURVE_z, SY_N_CURVES}, 1, 1, 0, 0},
};

/* --- what there is ---------------------------------------------------------------------------- */

static struct sy_bucket range_of(const struct sy_page *p, const struct chart *c) {
    struct sy_bucket all = {0};
    for (int i = 0; i < p->n_runs; i++)
        for (int k = 0; k < 2 && c->curve[k] < SY_N_CURVES; k++) {
            struct sy_bucket b = sy_grid_all(&p->run[i].curves, (int)c->curve[k]);
            if (b.n == 0)
                continue;
            all.min = all.n && all.min < b.min ? all.min : b.min;
            all.max = all.n && all.max > b.max ? all.max : b.max;
            all.n += b.n;
        }
    return all;
}

/* The clip of a chart of norms; 0: none, or runs differ in it. */
static double clip_of(const struct sy_page *p, const struct chart *c) {
    double clip = p->run[0].config ? p->run[0].config->training.max_norm : 0;
    for (int i = 1; i < p->n_runs; i++)
        if (!p->run[i].config || p->run[i].config->training.max_norm != clip)
            return 0;
    return c->curve[0] == SY_CURVE_norm ? clip : 0;
}

static struct sy_axis axis_of(const struct sy_page *p, const struct chart *c, const struct sy_bucket *all,
                              int is_log) {
    double clip = clip_of(p, c), low = all->min, high = all->max;
    if (clip > 0 && clip < 4 * high && clip > low / 4) {
        low = clip < low ? clip : low;
        high = clip > high ? clip : high;
    }
    if (is_log)
        return sy_axis_log(low / 1.05, high * 1.05);
    double room = 0.05 * (high - low);
    low = c->from_zero && low >= 0 ? 0 : low - room;
    return sy_axis_linear(low, high + (room > 0 ? room : 0.1 * fabs(high)), 5);
}

/* --- parts of a figure ------------------------------------------------------------------------ */

void sy_put_x_ticks(struct sy_page *p) {
    char text[SY_SHORT];
    sy_page_put(p, "<div class=x aria-hidden=true>");
    for (int i = 0; i < p->x.n_ticks; i++)
        sy_page_put(p, "<span style=left:%.2f%%>%s</span>", 100 * sy_axis_at(&p->x, p->x.tick[i]),
                    sy_spaced((int64_t)p->x.tick[i], text));
    sy_page_put(p, "</div>");
}

static void y_ticks(struct sy_page *p, const struct sy_axis *y, const char *class) {
    char text[SY_SHORT];
    sy_page_put(p, "<div class=\"y %s\" aria-hidden=true>", class);
    for (int i = 0; i < y->n_ticks; i++)
        sy_page_put(p, "<span style=top:%.2f%%>%s</span>", 100 * (1 - sy_axis_at(y, y->tick[i])),
                    sy_short(y->tick[i], text));
    sy_page_put(p, "</div>");
}

void sy_put_marks(struct sy_page *p) {
    for (int kind = SY_HAPPENING_resume; kind < SY_N_HAPPENINGS; kind++) {
        int n = 0;
        for (int i = 0; i < p->n_runs; i++)
            for (int k = 0; k < p->run[i].n_happened; k++) {
                const struct sy_happening *h = &p->run[i].happened[k];
                if ((int)h->kind != kind)
                    continue;
                if (n++ == 0)
                    sy_page_put(p, "<path class=\"mark %s\" d=\"", sy_happenings[kind].name);
                sy_page_put(p, "M%d 0V%d", (int)lround(sy_axis_at(&p->x, (double)h->step) * SY_BOX_W),
                            SY_BOX_H);
            }
        if (n)
            sy_page_put(p, "\"/>");
    }
}

static void grid_lines(struct sy_page *p, const struct sy_axis *y) {
    sy_page_put(p, "<path class=grid d=\"");
    for (int i = 0; i < y->n_ticks; i++)
        sy_page_put(p, "M0 %dH%d", (int)lround((1 - sy_axis_at(y, y->tick[i])) * SY_BOX_H), SY_BOX_W);
    sy_page_put(p, "\"/>");
}

static void path(struct sy_page *p, const struct sy_trace *t, const char *class,
                 void (*draw)(struct sy_page *, const struct sy_trace *)) {
    sy_page_put(p, "<path class=\"%s\" d=\"", class);
    draw(p, t);
    sy_page_put(p, "\"/>");
}

/* The colour of a curve: of several runs the run's, else its own. */
static int colour(const struct sy_page *p, int run, int k) { return p->n_runs > 1 ? run % 8 : k; }

static void curves(struct sy_page *p, const struct chart *c, const struct sy_axis *y) {
    char class[64];
    for (int i = 0; i < p->n_runs; i++)
        for (int k = 0; k < 2 && c->curve[k] < SY_N_CURVES; k++) {
            struct sy_trace t = {&p->run[i].curves, (int)c->curve[k], p->thin_curves, *y};
            int s = colour(p, i, k), is_eval = c->curve[k] == SY_CURVE_eval;
            if (sy_grid_all(t.grid, t.row).n == 0)
                continue;
            if (!is_eval && t.grid->width * t.thin > 1 && p->n_runs == 1) {
                snprintf(class, sizeof class, "band s%d%s", s, c->has_smooth ? " raw" : "");
                path(p, &t, class, sy_put_band);
            }
            snprintf(class, sizeof class, "line s%d%s%s", s, c->has_smooth && !is_eval ? " raw faint" : "",
                     is_eval && p->n_runs > 1 ? " dashed" : "");
            path(p, &t, class, sy_put_line);
            snprintf(class, sizeof class, "line s%d smooth", s);
            if (c->has_smooth && !is_eval)
                path(p, &t, class, sy_put_smooth);
        }
}

static void clip_line(struct sy_page *p, const struct chart *c, const struct sy_axis *y) {
    double clip = clip_of(p, c);
    if (clip > 0 && clip >= y->low && clip <= y->high)
        sy_page_put(p, "<path class=clip d=\"M0 %dH%d\"/>", (int)lround((1 - sy_axis_at(y, clip)) * SY_BOX_H),
                    SY_BOX_W);
}

/* --- what a reader without eyes is told ------------------------------------------------------- */

static void label(struct sy_page *p, const struct chart *c) {
    char a[SY_SHORT], b[SY_SHORT], d[SY_SHORT];
    sy_page_put(p, "%s by step, %s. ", c->title, c->unit);
    for (int i = 0; i < p->n_runs; i++)
        for (int k = 0; k < 2 && c->curve[k] < SY_N_CURVES; k++) {
            struct sy_bucket all = sy_grid_all(&p->run[i].curves, (int)c->curve[k]);
            if (all.n == 0)
                continue;
            if (p->n_runs > 1)
                sy_page_text(p, p->run[i].name);
            sy_page_put(p, "%s%s: last %s, lowest %s, highest %s. ", p->n_runs > 1 ? " " : "",
                        sy_curves[c->curve[k]].text, sy_short(all.last, a), sy_short(all.min, b),
                        sy_short(all.max, d));
        }
}

static void choice(struct sy_page *p, const char *id, const char *what, int checked) {
    sy_page_put(p, "<input type=checkbox class=\"pick p-%s\" id=%s-%s%s><label for=%s-%s>%s</label>", what,
                id, what, checked ? " checked" : "", id, what, what);
}

static void legend(struct sy_page *p, const struct chart *c) {
    sy_page_put(p, "<ul class=legend>");
    for (int i = 0; i < p->n_runs && p->n_runs > 1; i++) {
        sy_page_put(p, "<li class=s%d>", colour(p, i, 0));
        sy_page_text(p, p->run[i].name);
        sy_page_put(p, "</li>");
    }
    for (int k = 0; k < 2 && c->curve[k] < SY_N_CURVES && c->curve[1] < SY_N_CURVES; k++)
        if (p->n_runs == 1 && sy_grid_all(&p->run[0].curves, (int)c->curve[k]).n)
            sy_page_put(p, "<li class=s%d>%s</li>", k, sy_curves[c->curve[k]].text);
    if (clip_of(p, c) > 0)
        sy_page_put(p, "<li class=clip>clipped at %g</li>", clip_of(p, c));
    sy_page_put(p, "</ul>");
}

/* The letters of what happened, above the first chart. */
static void letters(struct sy_page *p) {
    int n = 0;
    sy_page_put(p, "<div class=letters aria-hidden=true>");
    for (int i = 0; i < p->n_runs; i++)
        for (int k = 0; k < p->run[i].n_happened && n < 60; k++) {
            const struct sy_happening *h = &p->run[i].happened[k];
            if (h->kind == SY_HAPPENING_start)
                continue;
            n++;
            sy_page_put(
                p, "<span class=%s style=left:%.2f%% title=\"step %lld, %s: ", sy_happenings[h->kind].name,
                100 * sy_axis_at(&p->x, (double)h->step), (long long)h->step, sy_happenings[h->kind].text);
            sy_page_text(p, h->text);
            sy_page_put(p, "\">%s</span>", sy_happenings[h->kind].letter);
        }
    sy_page_put(p, "</div>");
}

/* --- a figure --------------------------------------------------------------------------------- */

static void box(struct sy_page *p, const struct chart *c, const struct sy_axis *y, const char *class) {
    sy_page_put(p,
                "<svg class=%s viewBox=\"0 0 %d %d\" preserveAspectRatio=none aria-hidden=true data-low=%.9g "
                "data-high=%.9g>",
                class, SY_BOX_W, SY_BOX_H, y->low, y->high);
    grid_lines(p, y);
    sy_put_marks(p);
    clip_line(p, c, y);
    curves(p, c, y);
    sy_page_put(p, "</svg>");
}

static void figure(struct sy_page *p, const struct chart *c, const struct sy_bucket *all) {
    struct sy_axis linear = axis_of(p, c, all, 0), log_axis = {0};
    int has_log = c->has_log && all->min > 0;
    sy_page_put(p, "<figure class=\"chart %s\" id=c-%s data-curves=\"%s", c->class, c->id,
                sy_curves[c->curve[0]].name);
    if (c->curve[1] < SY_N_CURVES)
        sy_page_put(p, " %s", sy_curves[c->curve[1]].name);
    sy_page_put(p, "\"><figcaption><h3>%s</h3><span class=unit>%s</span></figcaption>", c->title, c->unit);
    legend(p, c);
    if (c->has_smooth || has_log)
        sy_page_put(p, "<span class=gap></span>");
    if (c->has_smooth) {
        choice(p, c->id, "raw", 1);
        choice(p, c->id, "smooth", 1);
    }
    if (has_log) {
        choice(p, c->id, "log", 0);
        log_axis = axis_of(p, c, all, 1);
    }
    sy_page_put(p, "<div class=plot tabindex=0 role=img aria-label=\"");
    label(p, c);
    sy_page_put(p, "\">");
    y_ticks(p, &linear, "v-linear");
    if (has_log)
        y_ticks(p, &log_axis, "v-log");
    sy_page_put(p, "<div class=area>");
    if (strcmp(c->id, "loss") == 0)
        letters(p);
    box(p, c, &linear, "v-linear");
    if (has_log)
        box(p, c, &log_axis, "v-log");
    sy_page_put(p, "</div>");
    sy_put_x_ticks(p);
    sy_page_put(p, "</div><p class=read></p></figure>\n");
}

void sy_put_charts(struct sy_page *p) {
    sy_page_put(p, "<section class=charts aria-label=curves>");
    for (size_t i = 0; i < sizeof charts / sizeof *charts; i++) {
        struct sy_bucket all = range_of(p, &charts[i]);
        if (all.n)
            figure(p, &charts[i], &all);
    }
    sy_page_put(p, "</section>\n");
}
