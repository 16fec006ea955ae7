/* What the page's script shows under a pointer: the buckets that were drawn, as JSON in a script element
 * that is no script. Numbers have the digits that metrics.jsonl has. See page.h. */
#include <math.h>
#include <string.h>

#include "report/page.h"

static double of(const struct sy_bucket *b, int what) {
    if (b->n == 0)
        return NAN;
    return what == 0 ? b->last : what == 1 ? b->min : what == 2 ? b->max : (double)b->at;
}

/* Column after column of `n` rows from `first` on. */
static void array(struct sy_page *p, const struct sy_grid *g, int thin, const int row[2], int what) {
    const char *comma = "";
    sy_page_put(p, "[");
    for (int c = 0; c < sy_grid_columns(g, thin); c++)
        for (int r = row[0]; r < row[0] + row[1]; r++) {
            struct sy_bucket b = sy_grid_at(g, r, c, thin);
            sy_page_put(p, "%s", comma);
            sy_page_real(p, of(&b, what));
            comma = ",";
        }
    sy_page_put(p, "]");
}

static void rows(struct sy_page *p, const struct sy_grid *g, int thin, int first, int n) {
    static const char *const names[] = {"last", "min", "max"};
    const int row[2] = {first, n};
    sy_page_put(p, "{");
    for (int what = 0; what < (g->width * thin > 1 ? 3 : 1); what++) {
        sy_page_put(p, "%s\"%s\":", what ? "," : "", names[what]);
        array(p, g, thin, row, what);
    }
    if (n == 1 && first == SY_CURVE_eval) {
        sy_page_put(p, ",\"at\":");
        array(p, g, thin, row, 3);
    }
    sy_page_put(p, "}");
}

static void grid(struct sy_page *p, const struct sy_grid *g, int thin) {
    sy_page_put(p, "\"base\":%lld,\"width\":%lld,\"n\":%d,", (long long)g->base, (long long)(g->width * thin),
                sy_grid_columns(g, thin));
}

static void run(struct sy_page *p, const struct sy_report_run *r) {
    const char *comma = "";
    sy_page_put(p, "{\"curves\":{");
    grid(p, &r->curves, p->thin_curves);
    sy_page_put(p, "\"of\":{");
    for (int c = 0; c < SY_N_CURVES; c++)
        if (sy_grid_all(&r->curves, c).n) {
            sy_page_put(p, "%s\"%s\":", comma, sy_curves[c].name);
            rows(p, &r->curves, p->thin_curves, c, 1);
            comma = ",";
        }
    sy_page_put(p, "}},\"moe\":{");
    grid(p, &r->balance, p->thin_balance);
    sy_page_put(p, "\"layers\":{");
    for (int i = 0; i < r->n_layers; i++) {
        const struct sy_report_layer *l = &r->layer[i];
        sy_page_put(p, "%s\"%lld\":{\"experts\":%d,\"balance\":", i ? "," : "", (long long)l->layer,
                    l->experts);
        rows(p, &r->balance, p->thin_balance, l->first, SY_N_BALANCES);
        sy_page_put(p, ",\"load\":");
        rows(p, &r->balance, p->thin_balance, l->first + SY_N_BALANCES, l->experts);
        sy_page_put(p, "}");
    }
    sy_page_put(p, "}}}");
}

void sy_put_data(struct sy_page *p) {
    sy_page_put(p, "<script type=\"application/json\" id=data>{\"first\":%lld,\"last\":%lld,\"names\":{",
                (long long)p->first, (long long)p->last);
    for (int c = 0; c < SY_N_CURVES; c++)
        sy_page_put(p, "%s\"%s\":\"%s\"", c ? "," : "", sy_curves[c].name, sy_curves[c].text);
    sy_page_put(p, "},\"balances\":[");
    for (int b = 0; b < SY_N_BALANCES; b++)
        sy_page_put(p, "%s\"%s\"", b ? "," : "", sy_balances[b].text);
    sy_page_put(p, "],\"runs\":[");
    for (int i = 0; i < p->n_runs; i++) {
        sy_page_put(p, "%s", i ? "," : "");
        run(p, &p->run[i]);
    }
    sy_page_put(p, "]}</script>\n");
}
