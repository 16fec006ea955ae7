/* A run's files in series of bounded length: see run.h. */
#include "report/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/utf8.h"
#include "report/internal.h"

const struct sy_curve_about sy_curves[SY_N_CURVES] = {
#define X(name, key, text, unit) {#name, key, text, unit},
    SY_CURVE_LIST(X)
#undef X
};
const struct sy_balance_about sy_balances[SY_N_BALANCES] = {
#define X(name, key, text) {#name, key, text},
    SY_BALANCE_LIST(X)
#undef X
};
const struct sy_happening_about sy_happenings[SY_N_HAPPENINGS] = {
#define X(name, letter, text) {#name, letter, text},
    SY_HAPPENING_LIST(X)
#undef X
};

void sy_report_text(char out[SY_REPORT_TEXT], const char *text) {
    char clean[3 * SY_REPORT_TEXT];
    size_t n = strnlen(text, SY_REPORT_TEXT), m = sy_utf8_clean(text, n, clean);
    if (m >= SY_REPORT_TEXT)
        m = sy_utf8_start(clean, SY_REPORT_TEXT - 1);
    memcpy(out, clean, m);
    out[m] = 0;
}

/* --- open, close ---------------------------------------------------------------------------------------- */

/* The last part of a path. */
static const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void read_config(struct sy_report_run *r) {
    char path[4200];
    struct stat st;
    snprintf(path, sizeof path, "%s/config.toml", r->dir);
    if (stat(path, &st) != 0) {
        sy_report_text(r->why, "there is no config.toml");
        return;
    }
    sy_status status = sy_config_create(&r->config);
    if (status == SY_OK)
        status = sy_config_load_file(r->config, path);
    if (status == SY_OK)
        return;
    sy_report_text(r->why, sy_error_message());
    sy_config_destroy(r->config);
    r->config = NULL;
}

static sy_status clear(struct sy_report_run *r) {
    r->n_happened = r->n_left_out = r->n_layers = 0;
    r->n_digests = 0;
    r->memory.step = r->parts.step = 0;
    r->n_steps = r->first = r->last = r->tokens = r->n_skipped = 0;
    r->last_digest[0] = r->layout[0] = r->recipe[0] = 0;
    sy_grid_fini(&r->balance);
    sy_grid_fini(&r->curves);
    free(r->layer);
    r->layer = NULL;
    return sy_grid_init(SY_N_CURVES, SY_REPORT_POINTS, &r->curves);
}

sy_status sy_report_run_open(const char *dir, struct sy_report_run *r) {
    char path[4200];
    *r = (struct sy_report_run){.lines.fd = -1};
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        n--;
    if (n + 32 > sizeof r->dir)
        SY_FAIL(SY_ERR_USAGE, "%.200s…: the path has %zu bytes, at most %zu are possible", dir, n,
                sizeof r->dir - 32);
    memcpy(r->dir, dir, n);
    sy_report_text(r->name, last_part(r->dir));
    snprintf(path, sizeof path, "%s/metrics.jsonl", r->dir);
    SY_TRY(sy_lines_init(path, &r->lines));
    r->happened = calloc(SY_REPORT_HAPPENINGS, sizeof *r->happened);
    if (!r->happened)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory for what happened", dir);
    return clear(r);
}

void sy_report_run_close(struct sy_report_run *r) {
    sy_lines_fini(&r->lines);
    sy_grid_fini(&r->curves);
    sy_grid_fini(&r->balance);
    sy_config_destroy(r->config);
    free(r->layer);
    free(r->happened);
    *r = (struct sy_report_run){.lines.fd = -1};
}

int64_t sy_report_run_steps(const struct sy_report_run *r) {
    return r->config ? r->config->training.steps : 0;
}

/* --- update --------------------------------------------------------------------------------------------- */

/* A resume writes another file in the place of the old one. */
static sy_status see_file(struct sy_report_run *r) {
    struct stat st;
    if (stat(r->lines.path, &st) != 0)
        SY_FAIL(SY_ERR_IO, "%s: has no metrics.jsonl, which `switchyard train` writes into a run's folder",
                r->dir);
    if (r->inode && (r->inode != (int64_t)st.st_ino || st.st_size < r->lines.offset)) {
        r->lines.offset = r->lines.number = 0;
        SY_TRY(clear(r));
    }
    r->inode = (int64_t)st.st_ino;
    return SY_OK;
}

static sy_status read_lines(struct sy_report_run *r) {
    const char *text = NULL;
    size_t bytes = 0;
    for (;;) {
        SY_TRY(sy_lines_next(&r->lines, &text, &bytes));
        if (!text)
            return SY_OK;
        SY_TRY(sy_report_line(r, text, bytes));
    }
}

sy_status sy_report_run_update(struct sy_report_run *r) {
    SY_TRY(see_file(r));
    sy_config_destroy(r->config);
    r->config = NULL;
    read_config(r);
    sy_report_checkpoints(r);
    SY_TRY(sy_lines_open(&r->lines));
    sy_status status = read_lines(r);
    sy_lines_close(&r->lines);
    sy_report_last_digest(r);
    return status;
}
