/* The page of a run, or of several: report.html. One file that asks for nothing else, at most 2 MB. */
#ifndef SY_REPORT_REPORT_H
#define SY_REPORT_REPORT_H

#include "base/text.h"
#include "report/run.h"

enum { SY_REPORT_MAX_BYTES = 2000000, SY_REPORT_MAX_RUNS = 16 };

/* Local. The page of runs that were read; out->s is the caller's to free, also after an error. Errors:
 * ERR_MEMORY; ERR_RUNTIME no run has a step. */
sy_status sy_report_page(const struct sy_report_run *run, int n_runs, struct sy_text *out);

/* Local. Puts it in the place of `path`, whole or not at all. Errors: also ERR_IO. */
sy_status sy_report_write(const struct sy_report_run *run, int n_runs, const char *path);

#endif
