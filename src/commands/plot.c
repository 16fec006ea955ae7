/* switchyard plot: a run in characters. */
#include <stdio.h>
#include <stdlib.h>
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
