/* The table of a run's progress: see columns.h. */
#include "train/columns.h"

#include <stdio.h>
#include <string.h>

enum column { LOSS, NORM, LR, BATCH, RATE, FLOPS, PEAK, LEFT, BYTES, CV, DEAD, COLUMNS };

/* In the order of the line. rank: 0 is the last to go when there is no room. No text is wider than its
 * column. */
static const struct {
    const char *head;
    int width, rank;
} table[COLUMNS] = {
    [LOSS] = {"loss", 7, 0},   [NORM] = {"|grad|", 7, 3}, [LR] = {"lr", 7, 5},
    [BATCH] = {"batch", 5, 3}, [RATE] = {"tok/s", 5, 2},  [FLOPS] = {"FLOP/s", 6, 8},
    [PEAK] = {"%peak", 5, 7},  [LEFT] = {"left", 5, 1},   [BYTES] = {"bytes", 5, 9},
    [CV] = {"cv", 4, 4},       [DEAD] = {"dead", 5, 6},
};

/* --- texts of a column's width ---------------------------------------------------------------- */

enum { TEXT = 24 };

/* `decimals` of a number below 100, one less below 1000, then a power of ten. */
static void plain(double x, int decimals, char out[TEXT]) {
    if (x != x)
        snprintf(out, TEXT, "nan");
    else if (x < 999.5)
        snprintf(out, TEXT, "%.*f", x < 99.99995 ? decimals : decimals - 1, x);
    else
        snprintf(out, TEXT, "%.1e", x < 1e99 ? x : 1e99);
}

/* Three digits and a decimal prefix: 26.8k, 174G. */
static void prefixed(double v, char out[TEXT]) {
    static const char *const prefixes[] = {"", "k", "M", "G", "T", "P"};
    int p = 0;
    for (; v >= 999.5 && p < 5; p++)
        v /= 1000.0;
    snprintf(out, TEXT,
             v < 9.995   ? "%.2f%s"
             : v < 99.95 ? "%.1f%s"
                         : "%.0f%s",
             v < 999 ? v : 999, prefixes[p]);
}

static void duration(double seconds, char out[TEXT]) {
    long s = (long)((seconds < 86400.0 * 9999 ? seconds : 86400.0 * 9999) + 0.5);
    if (s < 3600)
        snprintf(out, TEXT, "%ld:%02ld", s / 60, s % 60);
    else if (s < 360000)
        snprintf(out, TEXT, "%ldh%02ld", s / 3600, s / 60 % 60);
    else
        snprintf(out, TEXT, "%ldd", s / 86400);
}

static void balance(const struct sy_figures *f, enum column column, char out[TEXT]) {
    if (!f->counted)
        snprintf(out, TEXT, "-");
    else if (column == DEAD)
        prefixed((double)f->dead, out);
    else
        snprintf(out, TEXT,
                 f->cv < 9.995   ? "%.2f"
                 : f->cv < 99.95 ? "%.1f"
                                 : "%.0f",
                 f->cv < 9999 ? f->cv : 9999);
    if (f->counted && column == DEAD && f->dead < 1000)
        snprintf(out, TEXT, "%lld", (long long)f->dead);
}

static void whole(int64_t n, char out[TEXT]) {
    if (n < 100000)
        snprintf(out, TEXT, "%lld", (long long)n);
    else
        prefixed((double)n, out);
}

static void text_of(const struct sy_figures *f, enum column column, char out[TEXT]) {
    switch (column) {
    case LOSS:
        return plain(f->loss, 4, out);
    case NORM:
        return plain(f->norm, 2, out);
    case LR:
        return (void)snprintf(out, TEXT, "%.1e", f->lr >= 1e-99 ? f->lr : 0.0);
    case BATCH:
        return whole(f->batch, out);
    case RATE:
        return prefixed(f->tps, out);
    case FLOPS:
        return prefixed(f->flops, out);
    case PEAK:
        return (void)snprintf(out, TEXT, "%.0f%%", f->mfu < 999 ? f->mfu : 999);
    case LEFT:
        return duration(f->left, out);
    case BYTES:
        return prefixed(f->bytes, out);
    default:
        return balance(f, column, out);
    }
}

/* --- lines ------------------------------------------------------------------------------------ */

struct sy_columns sy_columns_choose(int64_t steps, int what, int columns) {
    struct sy_columns c = {.columns = columns > 0 && columns < SY_LINE_COLUMNS ? columns : SY_LINE_COLUMNS,
                           .steps = steps};
    c.step_width = 2 * snprintf(NULL, 0, "%lld", (long long)steps) + 1;
    if (c.step_width < (int)strlen("step"))
        c.step_width = (int)strlen("step");
    int width = c.step_width;
    for (int rank = 0; rank < COLUMNS; rank++)
        for (int i = 0; i < COLUMNS; i++) {
            int needs = i == CV || i == DEAD ? SY_COLUMNS_BALANCE : i == BATCH ? SY_COLUMNS_BATCH : 0;
            if (table[i].rank != rank || (what & needs) != needs)
                continue;
            if (width + 1 + table[i].width > c.columns)
                continue;
            c.shown |= 1u << i;
            width += 1 + table[i].width;
        }
    return c;
}

static void join(const struct sy_columns *c, const char *step, const struct sy_figures *f,
                 char out[SY_LINE_BYTES]) {
    char text[TEXT];
    int n = snprintf(out, SY_LINE_BYTES, "%*s", c->step_width, step);
    for (int i = 0; i < COLUMNS; i++) {
        if (!(c->shown & 1u << i))
            continue;
        snprintf(text, sizeof text, "%s", table[i].head);
        if (f)
            text_of(f, (enum column)i, text);
        n += snprintf(out + n, (size_t)(SY_LINE_BYTES - n), " %*s", table[i].width, text);
    }
    out[c->columns] = 0;
}

void sy_columns_head(const struct sy_columns *c, char out[SY_LINE_BYTES]) { join(c, "step", NULL, out); }

void sy_columns_line(const struct sy_columns *c, const struct sy_figures *f, char out[SY_LINE_BYTES]) {
    char step[48];
    snprintf(step, sizeof step, "%lld/%lld", (long long)f->step, (long long)c->steps);
    join(c, step, f, out);
}
