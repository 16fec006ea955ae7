/* A page of runs: see report.h. */
#include "report/report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report/page.h"

static void head(struct sy_page *p) {
    sy_page_put(p, "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
                   "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src "
                   "'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action "
                   "'none'\">\n<meta name=viewport content=\"width=device-width,initial-scale=1\">\n"
                   "<meta name=color-scheme content=\"light dark\">\n<meta name=generator "
                   "content=\"switchyard " SY_VERSION "\">\n<title>");
    for (int i = 0; i < p->n_runs; i++) {
        sy_page_put(p, "%s", i ? ", " : "");
        sy_page_text(p, p->run[i].name);
    }
    sy_page_put(p, " – switchyard</title>\n<style>\n");
    sy_text_add(&p->text, sy_page_css, strlen(sy_page_css));
    sy_page_put(p, "</style>\n</head>\n<body>\n<main>\n");
}

static void foot(struct sy_page *p) {
    sy_page_put(
        p,
        "<footer class=note>Each value is one of metrics.jsonl, in columns of %lld step%s: the line is a "
        "column's last value, the band around it its smallest and largest. The smoothed line only "
        "draws.<span class=keys> ← → move through the steps.</span> Written by switchyard %s.</footer>\n",
        (long long)(p->run[0].curves.width * p->thin_curves),
        p->run[0].curves.width * p->thin_curves > 1 ? "s" : "", SY_VERSION);
}

static sy_status build(struct sy_page *p) {
    p->text.n = 0;
    head(p);
    if (p->n_runs > 1)
        sy_page_put(p, "<h1>%d runs</h1>", p->n_runs);
    sy_put_summary(p);
    sy_put_charts(p);
    sy_put_loads(p);
    sy_put_happened(p);
    sy_put_parts(p);
    sy_put_memory(p);
    sy_put_digests(p);
    SY_TRY(sy_put_config(p));
    foot(p);
    sy_page_put(p, "</main>\n");
    sy_put_data(p);
    sy_page_put(p, "<script>\n");
    sy_text_add(&p->text, sy_page_js, strlen(sy_page_js));
    sy_page_put(p, "</script>\n</body>\n</html>\n");
    if (p->text.failed)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for a report of %zu bytes", p->text.n);
    return SY_OK;
}

/* The columns are joined until the page is small enough: loads first, which are most of it. */
static sy_status build_small(struct sy_page *p) {
    for (int round = 0;; round++) {
        SY_TRY(build(p));
        if (p->text.n <= SY_REPORT_MAX_BYTES ||
            (p->thin_balance >= SY_REPORT_COLUMNS && p->thin_curves >= 64))
            return SY_OK;
        p->thin_balance *= 2;
        if (round % 2)
            p->thin_curves *= 2;
    }
}

sy_status sy_report_page(const struct sy_report_run *run, int n_runs, struct sy_text *out) {
    struct sy_page p = {.run = run, .n_runs = n_runs, .thin_curves = 1, .thin_balance = 1};
    int64_t steps = 0;
    for (int i = 0; i < n_runs; i++) {
        if (!run[i].n_steps)
            continue;
        p.first = !steps || run[i].first < p.first ? run[i].first : p.first;
        p.last = run[i].last > p.last ? run[i].last : p.last;
        steps += run[i].n_steps;
    }
    if (!steps)
        SY_FAIL(SY_ERR_RUNTIME, "%s: has no steps yet", n_runs ? run[0].dir : "no run");
    p.x = sy_axis_steps(&p);
    sy_status status = build_small(&p);
    *out = p.text;
    return status;
}

static sy_status write_file(const char *path, const struct sy_text *text) {
    char tmp[4400];
    int n = snprintf(tmp, sizeof tmp, "%s.tmp", path);
    if (n < 0 || (size_t)n >= sizeof tmp)
        SY_FAIL(SY_ERR_USAGE, "%.200s…: the path has %d bytes, at most %zu are possible", path, n,
                sizeof tmp - 1);
    FILE *f = fopen(tmp, "w");
    if (!f)
        SY_FAIL(SY_ERR_IO, "%s: cannot be written: %s", tmp, strerror(errno));
    int bad = fwrite(text->s, 1, text->n, f) != text->n;
    bad = fclose(f) != 0 || bad;
    if (bad || rename(tmp, path) != 0) {
        int why = errno;
        unlink(tmp);
        SY_FAIL(SY_ERR_IO, "%s: cannot be written: %s", path, strerror(why));
    }
    return SY_OK;
}

/* A link stays one: the file that it leads to is replaced. */
static sy_status put_file(const char *path, const struct sy_text *text) {
    char *real = realpath(path, NULL); /* NULL: there is none yet */
    sy_status status = write_file(real ? real : path, text);
    free(real);
    return status;
}

sy_status sy_report_write(const struct sy_report_run *run, int n_runs, const char *path) {
    struct sy_text text = {0};
    sy_status status = sy_report_page(run, n_runs, &text);
    if (status == SY_OK)
        status = put_file(path, &text);
    free(text.s);
    return status;
}
