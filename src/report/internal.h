/* What the files of this room share. Private to report/. */
#ifndef SY_REPORT_INTERNAL_H
#define SY_REPORT_INTERNAL_H

#include <jansson.h>

#include "report/run.h"

/* Values of curves are below; differences of which axes are made are above. */
#define SY_REPORT_MOST 1e290
#define SY_REPORT_LEAST 1e-290

enum {
    SY_REPORT_POINTS = 1000,      /* columns of curves; drawn are at most two points of each */
    SY_REPORT_COLUMNS = 500,      /* columns of loads */
    SY_REPORT_BUCKETS = 1 << 20,  /* buckets of loads, all rows together */
    SY_REPORT_MAX_ROWS = 1 << 18, /* of loads: a model with more has no heat maps */
};

/* At most SY_REPORT_TEXT - 1 bytes of a text, as valid UTF-8. */
void sy_report_text(char out[SY_REPORT_TEXT], const char *text);

/* Takes a whole line. Errors: ERR_DATA, ERR_MEMORY. */
sy_status sy_report_line(struct sy_report_run *run, const char *text, size_t bytes);

/* A line of kind "memory", or "profile". Errors: ERR_DATA. */
sy_status sy_report_parts_line(struct sy_report_run *run, const char *where, int64_t step,
                               const json_t *line);
sy_status sy_report_memory_line(struct sy_report_run *run, const char *where, int64_t step,
                                const json_t *line);

/* Digests of steps: which checkpoints there are; what a line says; the last step's. */
void sy_report_checkpoints(struct sy_report_run *run);
void sy_report_digest(struct sy_report_run *run, int64_t step, const char *digest);
void sy_report_last_digest(struct sy_report_run *run);

#endif
