/* A schedule's table in 80 columns: see plan.h. */
#include <string.h>

#include "commands/plan.h"

enum { COLUMNS = 70, MOST_LINES = 100 };

static char digit(int n) { return "0123456789abcdefghijklmnopqrstuvwxyz"[n % 36]; }

enum row { WORK, MICRO_BATCH, STAGE };

static char sign(const struct sy_schedule *s, const struct sy_schedule_step *p, enum row row) {
    return row == WORK          ? "FBIW"[p->work]
           : row == MICRO_BATCH ? digit(p->micro_batch)
                                : digit(p->stage / s->shape.ranks);
}

/* Units from .. from + COLUMNS of one rank. */
static void print_row(const struct sy_schedule *s, int rank, int64_t from, enum row row,
                      const struct sy_io *io) {
    char line[COLUMNS + 1];
    int n = 0;
    memset(line, row == WORK ? '.' : ' ', COLUMNS);
    for (int i = 0; i < s->n_each; i++) {
        const struct sy_schedule_step *p = &sy_schedule_of_rank(s, rank)[i];
        for (int64_t t = p->begin; t < p->end; t++)
            if (t >= from && t < from + COLUMNS)
                line[t - from] = sign(s, p, row);
    }
    n = (int)(s->length - from < COLUMNS ? s->length - from : COLUMNS);
    while (row != WORK && n > 0 && line[n - 1] == ' ')
        n--;
    if (row == WORK)
        sy_io_printf(io, "  %5d  %.*s\n", rank, n, line);
    else
        sy_io_printf(io, "         %.*s\n", n, line);
}

void sy_plan_print_schedule(const struct sy_schedule *s, const struct sy_io *io) {
    int rows = s->shape.stages > s->shape.ranks ? 3 : 2, lines = 0;
    sy_io_printf(io, "   rank  a column is a unit of time: %s; below it\n         the micro-batch%s\n",
                 s->split ? "F forward, I and W backward's halves" : "F forward, B backward (two)",
                 rows == 3 ? " and which of the rank's stages" : "");
    for (int64_t from = 0; from < s->length; from += COLUMNS) {
        if (lines + rows * s->shape.ranks > MOST_LINES) {
            sy_io_printf(io, "  ... and so on, to unit %lld\n", (long long)s->length);
            return;
        }
        for (int r = 0; r < s->shape.ranks; r++)
            for (int row = 0; row < rows; row++, lines++)
                print_row(s, r, from, row, io);
        if (from + COLUMNS < s->length)
            sy_io_printf(io, "\n");
    }
}
