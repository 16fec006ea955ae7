/* switchyard inspect --experts: the load of every expert over time, as a table with bars or as JSON.
 *
 *     layer 1: 8 experts; load in % of the mean of all experts, 100 is balanced
 *        steps     1     4     6     9    11    14    16    19
 *           to     3     5     8    10    13    15    18    20    all  bar to 200%
 *            0    99   104    97   101   100    98   100   102    100  ######
 *
 * All rows fit in 80 columns. More experts than rows: the heaviest, the mean of the rest, the lightest.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "commands/experts_load.h"
#include "base/sized.h"
#include "train/io.h"
#include "train/metrics.h"

enum { COLUMNS = 80, LABEL = 10, ALL = 7, CELLS = 49, MAX_BAR = 16, ROWS = 32, MAX_ROWS = 1 << 16 };

struct page { /* text on its way to io->write */
    const struct sy_io *io;
    size_t n;
    char text[4096];
};

static void flush(struct page *p) {
    if (p->n && p->io->write)
        p->io->write(p->io->user, p->text, p->n);
    p->n = 0;
}

static void put(struct page *p, const char *fmt, ...) SY_PRINTF(2, 3);
static void put(struct page *p, const char *fmt, ...) {
    va_list args;
    if (p->n > sizeof p->text - 512)
        flush(p);
    va_start(args, fmt);
    int n = vsnprintf(p->text + p->n, sizeof p->text - p->n, fmt, args);
    va_end(args);
    if (n > 0)
        p->n += (size_t)n < sizeof p->text - p->n ? (size_t)n : sizeof p->text - p->n - 1;
}

/* --- numbers -------------------------------------------------------------------------------------------- */

/* Load in percent of the mean of the experts of the layer; negative: there is none. */
static double share(const int64_t *load, int64_t experts, double of) {
    double total = 0;
    for (int64_t e = 0; e < experts; e++)
        total += (double)load[e];
    return total > 0 ? 100.0 * of * (double)experts / total : -1.0;
}

/* At most 5 characters. */
static const char *percent(double v, char out[16]) {
    if (v < 0)
        return "-";
    if (v > 0 && v < 0.5)
        return "<1";
    snprintf(out, 16, v < 99999.5 ? "%.0f" : "%.0fk", v < 99999.5 ? v : v < 1e10 ? v / 1000.0 : 1e7);
    return out;
}

/* At most 8 characters. */
static const char *count(int64_t n, char out[16]) {
    snprintf(out, 16, n < 100000000 ? "%.0f" : "%.2e", (double)n);
    return out;
}

/* --- the table ------------------------------------------------------------------------------------------ */

static void summary(struct page *p, const struct sy_experts_layer *l) {
    char low[16], high[16], step_low[16], step_high[16];
    struct sy_load all = sy_load_of((int)l->layer, l->load, l->experts);
    put(p, "%5lld %10lld %6s %7s %5.2f %7.4f %5lld %8s %8s %7.2f\n", (long long)l->layer,
        (long long)l->n_steps, percent(share(l->load, l->experts, (double)all.min), low),
        percent(share(l->load, l->experts, (double)all.max), high), all.cv, all.entropy, (long long)all.dead,
        count(l->step_min, step_low), count(l->step_max, step_high), l->step_cv);
}

static void summary_head(struct page *p, const struct sy_experts_load *load) {
    put(p, "steps %lld-%lld\n", (long long)load->first, (long long)load->last);
    if (load->n_silent)
        put(p,
            "note: %lld steps are left out: their lines have no load of each expert,\n"
            "      an older version wrote them, or they stopped at a NaN before the experts\n",
            (long long)load->n_silent);
    if (load->torn)
        put(p, "note: the last line is torn and left out\n");
    put(p, "\n%5s %10s %6s %7s %5s %7s %5s %8s %8s %7s\n", "layer", "steps", "min%", "max%", "cv", "entropy",
        "dead", "step min", "step max", "step cv");
}

static void bar(struct page *p, double v, double full, int width, int utf8) {
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    int parts = utf8 ? 8 : 1, n = (int)((double)(width * parts) * v / full + 0.5);
    put(p, "%s", n ? "  " : "");
    for (int i = 0; i < n / parts; i++)
        put(p, "%s", utf8 ? "█" : "#");
    put(p, "%s", utf8 ? eighths[n % 8] : "");
}

struct table {
    const struct sy_experts_load *load;
    const struct sy_experts_layer *layer;
    int cell, width, utf8; /* columns of a cell, of a bar */
    double full;           /* percent of a whole bar */
};

/* Experts id[0 .. n): one, or the mean of several. */
static void row(struct page *p, const struct table *t, const int64_t *id, int64_t n, const char *label) {
    const struct sy_experts_layer *l = t->layer;
    char text[16];
    double sum = 0;
    put(p, "%*s", LABEL, label);
    int silent_at_end = 0;
    for (int b = 0; b < t->load->n_buckets; b++) {
        const int64_t *bucket = l->bucket + b * l->experts;
        sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += (double)bucket[id[i]];
        double v = share(bucket, l->experts, sum / (double)n);
        put(p, "%*s", t->cell, percent(v, text));
        silent_at_end = v == 0 || (v < 0 && silent_at_end);
    }
    sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)l->load[id[i]];
    double v = share(l->load, l->experts, sum / (double)n);
    put(p, "%*s", ALL, percent(v, text));
    if (sum == 0)
        put(p, "  dead");
    else if (silent_at_end)
        put(p, "  dead at end");
    else
        bar(p, v, t->full, t->width, t->utf8);
    put(p, "\n");
}

static void table_head(struct page *p, const struct table *t) {
    char text[16];
    put(p, "\nlayer %lld: %lld experts; load in %% of the mean of all experts, 100 is balanced\n",
        (long long)t->layer->layer, (long long)t->layer->experts);
    put(p, "%*s", LABEL, "steps");
    for (int b = 0; b < t->load->n_buckets; b++)
        put(p, "%*lld", t->cell, (long long)sy_experts_bucket_first(t->load, b));
    put(p, "\n%*s", LABEL, "to");
    for (int b = 0; b < t->load->n_buckets; b++)
        put(p, "%*lld", t->cell, (long long)sy_experts_bucket_first(t->load, b + 1) - 1);
    put(p, "%*s  bar to %s%%\n", ALL, "all", percent(t->full, text));
}

struct ranked {
    int64_t id, load;
};

static int heaviest_first(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    return x->load != y->load ? (x->load < y->load) - (x->load > y->load) : (x->id > y->id) - (x->id < y->id);
}

/* ids [E]: by load if some must be left out, else ascending. */
static sy_status order(const struct sy_experts_layer *l, int by_load, int64_t *ids) {
    struct ranked *r = malloc((size_t)l->experts * sizeof *r);
    if (!r)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for the order of %lld experts", (long long)l->experts);
    for (int64_t e = 0; e < l->experts; e++)
        r[e] = (struct ranked){e, l->load[e]};
    if (by_load)
        qsort(r, (size_t)l->experts, sizeof *r, heaviest_first);
    for (int64_t e = 0; e < l->experts; e++)
        ids[e] = r[e].id;
    free(r);
    return SY_OK;
}

static void table(struct page *p, const struct table *t, const int64_t *ids, int64_t rows) {
    char label[32];
    int64_t e = t->layer->experts, top = rows < e ? (rows + 1) / 2 : e, low = rows < e ? rows / 2 : 0;
    table_head(p, t);
    for (int64_t i = 0; i < e; i++) {
        if (i == top && rows < e) {
            snprintf(label, sizeof label, "rest %lld", (long long)(e - rows));
            row(p, t, ids + i, e - rows, label);
            i = e - low;
        }
        if (i < e) {
            snprintf(label, sizeof label, "%lld", (long long)ids[i]);
            row(p, t, ids + i, 1, label);
        }
    }
}

static sy_status print_layer(struct page *p, const struct sy_experts_load *load,
                             const struct sy_experts_layer *l, int64_t rows, int utf8) {
    struct table t = {.load = load, .layer = l, .cell = sy_experts_cell(load), .utf8 = utf8, .full = 200.0};
    double heaviest = share(l->load, l->experts, (double)sy_load_of(0, l->load, l->experts).max);
    int left = COLUMNS - 1 - LABEL - ALL - 2 - t.cell * load->n_buckets;
    t.width = left < MAX_BAR ? left : MAX_BAR;
    t.full = heaviest > t.full ? heaviest : t.full;
    int64_t *ids = calloc((size_t)l->experts, sizeof *ids);
    if (!ids)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for the order of %lld experts", (long long)l->experts);
    sy_status status = order(l, rows < l->experts, ids);
    if (status == SY_OK)
        table(p, &t, ids, rows);
    free(ids);
    return status;
}

/* --- JSON ----------------------------------------------------------------------------------------------- */

static void json_counts(struct page *p, const char *key, const int64_t *counts, int64_t n) {
    put(p, "\"%s\":[", key);
    for (int64_t e = 0; e < n; e++)
        put(p, "%s%lld", e ? "," : "", (long long)counts[e]);
    put(p, "]");
}

static void json_layer(struct page *p, const struct sy_experts_load *load, const struct sy_experts_layer *l) {
    struct sy_load all = sy_load_of((int)l->layer, l->load, l->experts);
    put(p,
        "{\"layer\":%lld,\"experts\":%lld,\"steps\":%lld,\"load_min\":%lld,\"load_max\":%lld,\"load_cv\":%."
        "6g,"
        "\"entropy\":%.6g,\"dead\":%lld,\"step_min\":%lld,\"step_max\":%lld,\"step_cv\":%.6g,",
        (long long)l->layer, (long long)l->experts, (long long)l->n_steps, (long long)all.min,
        (long long)all.max, all.cv, all.entropy, (long long)all.dead, (long long)l->step_min,
        (long long)l->step_max, l->step_cv);
    json_counts(p, "load", l->load, l->experts);
    put(p, ",\"buckets\":[");
    for (int b = 0; b < load->n_buckets; b++) {
        put(p, "%s{\"first_step\":%lld,\"last_step\":%lld,\"steps\":%lld,", b ? "," : "",
            (long long)sy_experts_bucket_first(load, b), (long long)sy_experts_bucket_first(load, b + 1) - 1,
            (long long)l->steps[b]);
        json_counts(p, "load", l->bucket + b * l->experts, l->experts);
        put(p, "}");
    }
    put(p, "]}");
}

/* --- all of it ------------------------------------------------------------------------------------------ */

static int chosen(const struct sy_experts_options *o, const struct sy_experts_layer *l) {
    return o->layer < 0 || l->layer == o->layer;
}

static void print_json(struct page *p, const struct sy_experts_load *load,
                       const struct sy_experts_options *o) {
    const char *comma = "";
    put(p,
        "{\"first_step\":%lld,\"last_step\":%lld,\"steps\":%lld,\"steps_without_load\":%lld,\"torn\":%s,"
        "\"layers\":[",
        (long long)load->first, (long long)load->last, (long long)load->n_steps, (long long)load->n_silent,
        load->torn ? "true" : "false");
    for (int i = 0; i < load->n_layers; i++)
        if (chosen(o, &load->layer[i])) {
            put(p, "%s", comma);
            json_layer(p, load, &load->layer[i]);
            comma = ",";
        }
    put(p, "]}\n");
}

static sy_status print_tables(struct page *p, const struct sy_experts_load *load,
                              const struct sy_experts_options *o) {
    summary_head(p, load);
    for (int i = 0; i < load->n_layers; i++)
        if (chosen(o, &load->layer[i]))
            summary(p, &load->layer[i]);
    put(p, "min%% max%%: an expert's load over all steps, in %% of the mean; dead: had none\n"
           "step min, step max: routes of an expert in one step; step cv: mean over steps\n");
    for (int i = 0; i < load->n_layers; i++)
        if (chosen(o, &load->layer[i]))
            SY_TRY(print_layer(p, load, &load->layer[i], o->rows ? o->rows : ROWS, o->utf8));
    return SY_OK;
}

static sy_status print_all(const struct sy_experts_load *load, const struct sy_experts_options *o,
                           const struct sy_io *io) {
    struct page p = {.io = io};
    int found = 0;
    for (int i = 0; i < load->n_layers; i++)
        found += chosen(o, &load->layer[i]);
    if (!found)
        SY_FAIL(SY_ERR_USAGE, "layer %lld: has no experts; the MoE layers of this run are %lld to %lld",
                (long long)o->layer, (long long)load->layer[0].layer,
                (long long)load->layer[load->n_layers - 1].layer);
    sy_status status = SY_OK;
    if (o->json)
        print_json(&p, load, o);
    else
        status = print_tables(&p, load, o);
    flush(&p);
    return status;
}

/* A run's metrics.jsonl, or the file itself. */
static sy_status metrics_of(const char *path, char *out, size_t bytes) {
    struct stat st;
    if (stat(path, &st) != 0)
        SY_FAIL(SY_ERR_IO, "%s: there is no such run", path);
    int n = snprintf(out, bytes, S_ISDIR(st.st_mode) ? "%s/metrics.jsonl" : "%s", path);
    if (n < 0 || (size_t)n >= bytes)
        SY_FAIL(SY_ERR_USAGE, "%.200s…: the path has %d bytes, at most %zu are possible", path, n, bytes - 1);
    if (stat(out, &st) != 0)
        SY_FAIL(SY_ERR_IO, "%s: has no metrics.jsonl, which `switchyard train` writes into a run's folder",
                path);
    return SY_OK;
}

sy_status sy_inspect_experts(const char *path, const struct sy_experts_options *given,
                             const struct sy_io *io) {
    struct sy_experts_options own;
    SY_TRY(SY_OPTIONS(sy_experts_options, given, &own));
    const struct sy_experts_options *options = &own;
    char file[4096];
    struct sy_experts_load load;
    if (options->rows < 0 || options->rows > MAX_ROWS)
        SY_FAIL(SY_ERR_USAGE, "%lld rows: must be in 1..%d", (long long)options->rows, MAX_ROWS);
    SY_TRY(metrics_of(path, file, sizeof file));
    sy_status status = sy_experts_load_read(file, options->json ? 0 : CELLS, &load);
    if (status == SY_OK)
        status = print_all(&load, options, io);
    sy_experts_load_free(&load);
    return status;
}
