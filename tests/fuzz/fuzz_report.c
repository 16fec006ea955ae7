/* Any bytes as metrics.jsonl, for `report` and `plot`. What is read has ascending columns, and values between
 * min and max; twice gives the same page; the page is well-formed and inert (tests/unit/page_checks.h) and no
 * larger than promised; no line of a plot is wider than it may be. A form feed cuts the input: what is behind
 * it is written after the first reading, and reading on gives what reading all at once does.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/page_checks.h"
#include "placed.h"
#include "report/plot.h"
#include "report/report.h"
#include "require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_grid(const struct sy_grid *g) {
    require(g->n >= 0 && g->n <= g->capacity && (g->width >= 1 || g->n == 0));
    for (int r = 0; r < g->rows; r++) {
        struct sy_bucket all = sy_grid_all(g, r);
        int64_t n = 0;
        for (int c = 0; c < g->n; c++) {
            struct sy_bucket b = sy_grid_at(g, r, c, 1);
            n += b.n;
            if (b.n)
                require(b.min <= b.last && b.last <= b.max && b.at >= g->base + c * g->width &&
                        b.at < g->base + (c + 1) * g->width && b.min >= all.min && b.max <= all.max);
        }
        require(n == all.n);
    }
}

static void check_page(const struct sy_report_run *run) {
    struct sy_text page = {0};
    sy_status status = sy_report_page(run, 1, &page);
    require(status == SY_OK || status == SY_ERR_MEMORY);
    if (status == SY_OK)
        require(page.n <= SY_REPORT_MAX_BYTES && strlen(page.s) == page.n && !page_fault(page.s));
    free(page.s);
}

static void check_plot(const struct sy_report_run *run, int width, int utf8) {
    struct sy_plot_shape shape = {.width = width, .height = 1 + width % 7, .layer = -1, .utf8 = utf8};
    struct sy_text text = {0};
    sy_status status = sy_report_plot(run, &shape, &text);
    require(status == SY_OK || status == SY_ERR_MEMORY);
    for (size_t i = 0, columns = 0; status == SY_OK && i < text.n; i++) {
        columns = text.s[i] == '\n' ? 0 : columns + (((unsigned char)text.s[i] & 0xc0) != 0x80);
        require(columns <= (size_t)width);
    }
    free(text.s);
}

static int refused(sy_status status) {
    require(status == SY_OK || status == SY_ERR_DATA || status == SY_ERR_MEMORY);
    require(status == SY_OK || sy_error_message()[0]);
    return status != SY_OK;
}

/* The run that was read, or nothing. */
static int read_run(const char *dir, struct sy_report_run *run) {
    return !refused(sy_report_run_open(dir, run)) && !refused(sy_report_run_update(run));
}

static int same(const struct sy_report_run *a, const struct sy_report_run *b) {
    size_t rows = (size_t)a->curves.rows * (size_t)a->curves.capacity * sizeof *a->curves.bucket;
    return a->n_steps == b->n_steps && a->last == b->last && a->n_happened == b->n_happened &&
           a->curves.n == b->curves.n && memcmp(a->curves.bucket, b->curves.bucket, rows) == 0 &&
           a->balance.n == b->balance.n && a->n_layers == b->n_layers;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int fd = -1;
    static const char *dir;
    struct sy_report_run run = {.lines.fd = -1}, grown = {.lines.fd = -1};
    if (fd < 0) {
        dir = placed_folder("run");
        fd = placed_file("run/metrics.jsonl", NULL);
    }
    const uint8_t *cut = size ? memchr(data, '\f', size) : NULL;
    size_t first = cut ? (size_t)(cut - data) : size, rest = cut ? size - first - 1 : 0;
    placed_fill(fd, data, first);
    int began = read_run(dir, &grown);
    require(pwrite(fd, cut ? cut + 1 : data, rest, (off_t)first) == (ssize_t)rest);
    int whole = read_run(dir, &run);
    if (whole && began) {
        sy_status status = sy_report_run_update(&grown);
        require(status == SY_ERR_MEMORY || (status == SY_OK && same(&run, &grown)));
    }
    if (whole && run.n_steps) {
        check_grid(&run.curves);
        check_grid(&run.balance);
        check_page(&run);
        check_plot(&run, 1 + (int)(size % 130), (int)(size & 1));
    }
    sy_report_run_close(&run);
    sy_report_run_close(&grown);
    return 0;
}
