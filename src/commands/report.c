/* switchyard report: one page of one run or several. */
#include <stdio.h>
#include <stdlib.h>

#include "report/report.h"
#include "train/io.h"

static sy_status read_all(const char *const *runs, int n, struct sy_report_run *run) {
    for (int i = 0; i < n; i++) {
        SY_TRY(sy_report_run_open(runs[i], &run[i]));
        SY_TRY(sy_report_run_update(&run[i]));
    }
    return SY_OK;
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
    if (status == SY_OK)
        status = sy_report_write(run, n, out ? out : path);
    if (status == SY_OK)
        sy_io_printf(io, "wrote %s\n", out ? out : path);
    for (int i = 0; i < n; i++)
        sy_report_run_close(&run[i]);
    free(run);
    return status;
}
