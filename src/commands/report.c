/* switchyard report: one page of one run or several. It takes the place of an earlier page, and of nothing
 * else: another file is refused, what is no file (/dev/stdout) is written to. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "report/report.h"
#include "train/io.h"

static sy_status read_all(const char *const *runs, int n, struct sy_report_run *run) {
    for (int i = 0; i < n; i++) {
        SY_TRY(sy_report_run_open(runs[i], &run[i]));
        SY_TRY(sy_report_run_update(&run[i]));
    }
    return SY_OK;
}

static int is_stream(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
}

/* Nothing but a page may be lost. */
static sy_status check_place(const char *path) {
    static const char begin[] = "<!doctype html>";
    char first[sizeof begin - 1];
    FILE *f = is_stream(path) ? NULL : fopen(path, "rb");
    if (!f)
        return SY_OK;
    size_t n = fread(first, 1, sizeof first, f);
    int bad = ferror(f);
    fclose(f);
    if (!bad && n && memcmp(first, begin, n) != 0)
        SY_FAIL(SY_ERR_USAGE, "%s: is there already and is no report: name another file", path);
    return SY_OK;
}

static sy_status write_stream(const struct sy_report_run *run, int n, const char *path) {
    struct sy_text text = {0};
    sy_status status = sy_report_page(run, n, &text);
    FILE *f = status == SY_OK ? fopen(path, "w") : NULL;
    int bad = status == SY_OK && (!f || fwrite(text.s, 1, text.n, f) != text.n);
    bad = (f && fclose(f) != 0) || bad;
    if (bad)
        status = sy_fail(SY_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    free(text.s);
    return status;
}

sy_status sy_report(const char *const *runs, int n, const char *out, const struct sy_io *io) {
    char path[4200];
    if (n < 1 || n > SY_REPORT_MAX_RUNS)
        SY_FAIL(SY_ERR_USAGE, "%d runs: must be 1 to %d", n, SY_REPORT_MAX_RUNS);
    struct sy_report_run *run = calloc((size_t)n, sizeof *run);
    if (!run)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for %d runs", n);
    for (int i = 0; i < n; i++)
        run[i].lines.fd = -1;
    sy_status status = read_all(runs, n, run);
    snprintf(path, sizeof path, "%s/report.html", run[0].dir);
    out = out ? out : path;
    int stream = is_stream(out);
    if (status == SY_OK)
        status = check_place(out);
    if (status == SY_OK)
        status = stream ? write_stream(run, n, out) : sy_report_write(run, n, out);
    if (status == SY_OK && !stream)
        sy_io_printf(io, "wrote %s\n", out);
    for (int i = 0; i < n; i++)
        sy_report_run_close(&run[i]);
    free(run);
    return status;
}
