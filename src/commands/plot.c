/* switchyard plot and runs: a run in characters, and which runs there are. */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "report/plot.h"
#include "base/sized.h"
#include "report/state.h"
#include "train/io.h"

enum { MAX_WIDTH = 4096, HEIGHT = 10, MAX_HEIGHT = 200 };

/* --- plot --------------------------------------------------------------------------------------- */

static sy_status draw(struct sy_report_run *run, const struct sy_plot_options *o, const struct sy_io *io) {
    struct sy_text text = {0};
    struct sy_plot_shape shape = {
        .width = o->width, .height = o->rows ? (int)o->rows : HEIGHT, .layer = o->layer, .utf8 = o->utf8};
    sy_status status = sy_report_plot(run, &shape, &text);
    if (status == SY_OK && io->write) {
        if (o->clear) /* home, then what is below the new text goes */
            io->write(io->user, "\033[H", 3);
        io->write(io->user, text.s, text.n);
        if (o->clear)
            io->write(io->user, "\033[J", 3);
    }
    free(text.s);
    return status;
}

static int asked_to_stop(const struct sy_io *io) { return io->stop && *io->stop; }

static void wait_a_second(const struct sy_io *io) {
    for (int i = 0; i < 10 && !asked_to_stop(io); i++)
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
}

/* Draws anew whenever there is a step more, until nobody trains there. */
static sy_status follow(struct sy_report_run *run, const struct sy_plot_options *o, const struct sy_io *io) {
    int64_t drawn = -1;
    for (;;) {
        int live = sy_run_is_live(run->dir);
        SY_TRY(sy_report_run_update(run));
        if (run->n_steps && run->last != drawn) {
            drawn = run->last;
            SY_TRY(draw(run, o, io));
        }
        if (!live || asked_to_stop(io))
            return SY_OK;
        wait_a_second(io);
    }
}

sy_status sy_plot(const char *dir, const struct sy_plot_options *given, const struct sy_io *io) {
    struct sy_plot_options own;
    SY_TRY(SY_OPTIONS(sy_plot_options, given, &own));
    const struct sy_plot_options *o = &own;
    struct sy_report_run run;
    if (o->width < 1 || o->width > MAX_WIDTH)
        SY_FAIL(SY_ERR_USAGE, "%d columns: must be 1 to %d", o->width, MAX_WIDTH);
    if (o->rows < 0 || o->rows > MAX_HEIGHT)
        SY_FAIL(SY_ERR_USAGE, "%lld rows: must be 1 to %d", (long long)o->rows, MAX_HEIGHT);
    sy_status status = sy_report_run_open(dir, &run);
    if (status == SY_OK && o->follow)
        status = follow(&run, o, io);
    else if (status == SY_OK && (status = sy_report_run_update(&run)) == SY_OK)
        status = draw(&run, o, io);
    sy_report_run_close(&run);
    return status;
}

/* --- runs --------------------------------------------------------------------------------------- */

static int has_metrics(const char *dir) {
    char path[4400];
    struct stat st;
    snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
    return stat(path, &st) == 0;
}

/* A name may have any characters: a row is a line all the same, and a terminal gets no escapes. */
static void print_row(const struct sy_io *io, const char *file, const char *dir) {
    struct sy_run_state s;
    char steps[48], loss[24], name[256];
    snprintf(name, sizeof name, "%s", file);
    for (char *c = name; *c; c++)
        *c = (unsigned char)*c < 32 || *c == 127 ? '?' : *c;
    if (sy_run_state_read(dir, &s) != SY_OK) {
        sy_io_printf(io, "%-24.200s %s\n", name, sy_error_message());
        return;
    }
    snprintf(steps, sizeof steps, s.steps ? "%lld/%lld" : "%lld", (long long)s.step, (long long)s.steps);
    snprintf(loss, sizeof loss, isfinite(s.loss) && fabs(s.loss) < 1e5 ? "%.4f" : "-", s.loss);
    sy_io_printf(io, "%-24.200s %15s %9s %14lld %-7s %s\n", name, steps, loss, (long long)s.tokens,
                 sy_run_state_word(&s), *s.digest ? s.digest : "-");
}

static int not_hidden(const struct dirent *e) { return e->d_name[0] != '.'; }

sy_status sy_runs(const char *dir, const struct sy_io *io) {
    struct dirent **entry;
    int rows = 0, n = scandir(dir, &entry, not_hidden, alphasort);
    if (n < 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot be read: %s; give the folder that runs are in", dir, strerror(errno));
    for (int i = 0; i < n; i++) {
        char path[4300];
        int fits = snprintf(path, sizeof path, "%s/%s", dir, entry[i]->d_name) < (int)sizeof path;
        if (fits && has_metrics(path)) {
            if (rows++ == 0)
                sy_io_printf(io, "%-24s %15s %9s %14s %-7s %s\n", "run", "step", "loss", "tokens", "state",
                             "digest");
            print_row(io, entry[i]->d_name, path);
        }
        free(entry[i]);
    }
    free(entry);
    if (!rows)
        sy_io_printf(io, "%s: no folder in it has a metrics.jsonl\n", dir);
    return SY_OK;
}
