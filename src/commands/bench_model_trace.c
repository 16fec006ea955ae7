/* A step on a GPU: its trace and its gaps. See bench_model_trace.h. */
#include "commands/bench_model_trace.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const double LONG_US = 5.0;

/* A kernel's name without its arguments. */
static void copy_name(char to[64], const char *name) {
    snprintf(to, 64, "%.*s", (int)strcspn(name, "("), name);
}

struct sy_step_gaps sy_step_gaps(const struct sy_cuda_works *works, int64_t from, int64_t to) {
    struct sy_step_gaps g = {0};
    int64_t begin = 0, end = 0;
    const char *last = "";
    for (int64_t i = 0; i < works->n; i++) {
        const struct sy_cuda_work *w = &works->work[i];
        if (w->begin < from || w->begin >= to)
            continue;
        double gap = g.n > 0 && w->begin > end ? (double)(w->begin - end) * 1e-3 : 0.0;
        begin = g.n == 0 ? w->begin : begin;
        g.n++;
        g.idle_us += gap;
        g.above += gap > LONG_US;
        if (gap > g.longest_us) {
            g.longest_us = gap;
            copy_name(g.before, last);
            copy_name(g.after, w->name);
        }
        if (w->end >= end) {
            end = w->end;
            last = w->name;
        }
    }
    g.step_us = (double)(end - begin) * 1e-3;
    return g;
}

/* Names are a compiler's: of what JSON would have otherwise they have none. */
sy_status sy_step_trace_write(const char *path, const struct sy_cuda_works *works, int64_t from, int64_t to) {
    FILE *f = fopen(path, "w");
    if (!f)
        SY_FAIL(SY_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    fprintf(
        f,
        "{\"traceEvents\":[\n{\"ph\":\"M\",\"pid\":0,\"tid\":0,\"name\":\"thread_name\",\"args\":{\"name\":"
        "\"the GPU's stream\"}}");
    for (int64_t i = 0; i < works->n; i++) {
        const struct sy_cuda_work *w = &works->work[i];
        if (w->begin >= from && w->begin < to)
            fprintf(f, ",\n{\"ph\":\"X\",\"pid\":0,\"tid\":0,\"ts\":%.3f,\"dur\":%.3f,\"name\":\"%s\"}",
                    (double)(w->begin - from) * 1e-3, (double)(w->end - w->begin) * 1e-3, w->name);
    }
    fprintf(f, "\n]}\n");
    int bad = ferror(f);
    if (fclose(f) || bad)
        SY_FAIL(SY_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    return SY_OK;
}

void sy_step_gaps_print(const struct sy_step_gaps *g, int json, const struct sy_io *io) {
    if (json) {
        sy_io_printf(io,
                     "\"trace\":{\"works\":%lld,\"step_us\":%.1f,\"idle_us\":%.1f,\"longest_gap_us\":%.2f,"
                     "\"gaps_above_5_us\":%lld}",
                     (long long)g->n, g->step_us, g->idle_us, g->longest_us, (long long)g->above);
        return;
    }
    sy_io_printf(
        io,
        "a step's work on the GPU: %lld kernels, copies and fills in %.2f ms, of them %.3f ms between; the "
        "longest gap %.2f us, %lld above 5",
        (long long)g->n, g->step_us * 1e-3, g->idle_us * 1e-3, g->longest_us, (long long)g->above);
    if (g->before[0])
        sy_io_printf(io, " (%s -> %s)", g->before, g->after);
    sy_io_printf(io, "\n");
}
