/* Traces of a training: see traces.h. */
#include "train/traces.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/folders.h"
#include "device/cuda.h"

enum { JOINED_MOST = 256 << 20 }; /* bytes that a browser still opens */

/* --- which steps ---------------------------------------------------------------------------------------- */

/* Steps before the end of the period that `step` is of: 0 in its last one. */
static int64_t left(const struct sy_config_profiling *c, int64_t step) {
    return c->profile_freq - 1 - (step - 1) % c->profile_freq;
}
static int is_written(const struct sy_traces *t, int64_t step) {
    const struct sy_config_profiling *c = &t->session->config->profiling;
    return left(c, step) < c->profiler_active;
}
static int is_looked_at(const struct sy_traces *t, int64_t step) {
    const struct sy_config_profiling *c = &t->session->config->profiling;
    return left(c, step) < c->profiler_active + c->profiler_warmup;
}

/* --- opening -------------------------------------------------------------------------------------------- */

static void warn_none(const struct sy_traces *t, int64_t first_step) {
    int64_t step = first_step, steps = t->session->config->training.steps;
    while (step <= steps && !is_written(t, step) &&
           step - first_step < t->session->config->profiling.profile_freq)
        step++;
    if (first_step <= steps && step > steps)
        sy_log_warn(t->log,
                    "profiling.profile_freq = %lld: no step of %lld to %lld is traced; choose at most %lld",
                    (long long)t->session->config->profiling.profile_freq, (long long)first_step,
                    (long long)steps, (long long)steps);
}

sy_status sy_traces_open(struct sy_session *s, const char *run_dir, int64_t first_step,
                         const struct sy_log *log, struct sy_traces *t) {
    *t = (struct sy_traces){0};
    if (!s->config->profiling.enable_profiling)
        return SY_OK;
    *t = (struct sy_traces){.session = s, .run_dir = run_dir, .log = log};
    t->profile = calloc(1, sizeof *t->profile);
    if (!t->profile)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a profile");
    sy_profile_init(t->profile, &s->exec, &s->state, &s->weights.keeper);
    int gpu = sy_device_cuda_is(s->exec.device) != NULL;
    t->profile->waits = 0;
    t->profile->works = gpu ? SY_WORKS_PLANNED : SY_WORKS_COUNTED; /* a wait for each would be another step */
    warn_none(t, first_step);
    return SY_OK;
}

void sy_traces_close(struct sy_traces *t) {
    sy_timeline_close(&t->timeline); /* of a window that did not end: what there is */
    free(t->profile);
    *t = (struct sy_traces){0};
}

/* --- files ---------------------------------------------------------------------------------------------- */

static void give_up(struct sy_traces *t) {
    sy_log_warn(t->log, "traces are not written: %s", sy_error_message());
    t->bad = 1;
}

static void folder_of(const struct sy_traces *t, int64_t step, char *path, size_t bytes) {
    const struct sy_config_profiling *c = &t->session->config->profiling;
    snprintf(path, bytes, "%s/%s/iteration_%lld", t->run_dir, c->save_traces_folder,
             (long long)(step + left(c, step)));
}

static void file_of(const struct sy_traces *t, int64_t step, int rank, char *path, size_t bytes) {
    char folder[4096];
    folder_of(t, step, folder, sizeof folder);
    if (rank < 0)
        snprintf(path, bytes, "%s/trace.json", folder);
    else
        snprintf(path, bytes, "%s/rank%d_trace.json", folder, rank);
}

static void open_file(struct sy_traces *t, int64_t step, double zero) {
    const struct sy_session *s = t->session;
    char folder[4096], path[4200];
    folder_of(t, step, folder, sizeof folder);
    file_of(t, step, s->mesh.rank, path, sizeof path);
    sy_status status = sy_folder_make(folder);
    if (status == SY_OK)
        status = sy_timeline_open(path, s->mesh.rank, &s->exec, zero, &t->timeline);
    if (status != SY_OK)
        give_up(t);
}

/* The lines between first and last, behind what is there. */
static int add_file(const char *path, int first, FILE *to) {
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n;
    int64_t at = 0;
    while (f && (n = getline(&line, &capacity, f)) > 0 && line[0] != ']') {
        if (at == 1 && !first)
            fputc(',', to);
        if (at++ > 0 || first)
            fwrite(line, 1, (size_t)n, to);
    }
    free(line);
    if (f)
        fclose(f);
    return f != NULL;
}

static sy_status join(const struct sy_traces *t, int64_t step) {
    int ranks = t->session->mesh.world, ok = 1;
    char path[4200], joined[4200];
    int64_t bytes = 0;
    struct stat st;
    for (int r = 0; r < ranks; r++) {
        file_of(t, step, r, path, sizeof path);
        bytes += stat(path, &st) == 0 ? st.st_size : 0;
    }
    file_of(t, step, -1, joined, sizeof joined);
    if (bytes > JOINED_MOST) {
        sy_log_info(t->log, "%s is not written: %d ranks have %lld MiB of traces, too much for one page",
                    joined, ranks, (long long)(bytes >> 20));
        return SY_OK;
    }
    FILE *f = fopen(joined, "w");
    if (!f)
        SY_FAIL(SY_ERR_IO, "%s: cannot be written: %s", joined, strerror(errno));
    for (int r = 0; r < ranks; r++) {
        file_of(t, step, r, path, sizeof path);
        ok = add_file(path, r == 0, f) && ok;
    }
    fputs("]}\n", f);
    ok = fflush(f) == 0 && !ferror(f) && ok;
    if (fclose(f) != 0 || !ok)
        SY_FAIL(SY_ERR_IO, "%s: cannot be written, or a rank's file beside it not read", joined);
    return SY_OK;
}

/* --- steps ---------------------------------------------------------------------------------------------- */

static void look(struct sy_traces *t, int on) {
    t->session->exec.ops = on ? &t->profile->ops : t->profile->inner;
    t->session->profile = on ? t->profile : NULL;
    t->looks = on;
}

sy_status sy_traces_before(struct sy_traces *t, int64_t step) {
    if (!t->session || !is_looked_at(t, step))
        return SY_OK;
    const struct sy_comm *world = &t->session->groups.world;
    if (is_written(t, step) && !t->opened) {
        SY_TRY(world->ops->agree(world, SY_OK)); /* the ranks' clocks begin together */
        t->opened = 1;
        if (!t->bad)
            open_file(t, step, sy_clock());
    }
    t->profile->timeline = t->timeline.file ? &t->timeline : NULL;
    look(t, 1);
    if (t->profile->timeline)
        sy_timeline_step_begin(&t->timeline);
    sy_profile_begin(t->profile);
    t->began = t->profile->since;
    if (t->profile->timeline)
        sy_timeline_phase(&t->timeline, "data", t->began);
    return SY_OK;
}

/* Writing takes time, too: of a step that is written only without another one. */
static void keep(struct sy_traces *t, int64_t step) {
    memcpy(t->part, t->profile->part, sizeof t->part);
    t->seconds = t->profile->since - t->began;
    t->profiled = step;
}

void sy_traces_after(struct sy_traces *t, int64_t step) {
    char name[48];
    if (!t->session || !t->looks)
        return;
    sy_exec_wait(&t->session->exec); /* a failure is the step's, which said it */
    sy_profile_end(t->profile);
    look(t, 0);
    if (!t->profile->timeline || t->session->config->profiling.profiler_warmup == 0)
        keep(t, step);
    if (!t->profile->timeline)
        return;
    snprintf(name, sizeof name, "step %lld", (long long)step);
    sy_timeline_phase(&t->timeline, NULL, t->profile->since);
    sy_timeline_span(&t->timeline, name, t->began, t->profile->since, step);
    sy_timeline_step_end(&t->timeline);
}

/* A part without time is left out. */
static json_t *parts_of(const struct sy_traces *t) {
    static const char *const passes[] = {"forward", "recompute", "backward"};
    json_t *parts = json_array();
    for (int i = 0; i < SY_N_PARTS; i++) {
        const char *text, *name = sy_profile_part_name(i, &text);
        int columns = sy_profile_columns(i);
        double ms = 0;
        json_t *part = json_pack("{s:s, s:s}", "part", name, "text", text);
        for (int c = 0; c < columns; c++) {
            ms += 1e3 * t->part[c][i].seconds;
            if (columns == SY_N_COLUMNS)
                json_object_set_new(part, passes[c], json_real(1e3 * t->part[c][i].seconds));
        }
        json_object_set_new(part, "ms", json_real(ms));
        if (ms > 0)
            json_array_append(parts, part);
        json_decref(part);
    }
    return parts;
}

static sy_status write_parts(struct sy_traces *t, struct sy_metrics *metrics) {
    if (!metrics || t->profiled == 0 || t->profile->works != SY_WORKS_COUNTED)
        return SY_OK;
    json_t *line = json_pack("{s:s, s:I, s:f, s:o}", "kind", "profile", "step", (json_int_t)t->profiled, "ms",
                             1e3 * t->seconds, "parts", parts_of(t));
    char *text = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    sy_status status =
        text ? sy_metrics_event(metrics, text) : sy_fail(SY_ERR_MEMORY, "no memory for a profile");
    free(text);
    json_decref(line);
    t->profiled = 0;
    return status;
}

sy_status sy_traces_write(struct sy_traces *t, int64_t step, struct sy_metrics *metrics) {
    if (!t->session || !t->opened || left(&t->session->config->profiling, step) > 0)
        return SY_OK;
    const struct sy_session *s = t->session;
    const struct sy_comm *world = &s->groups.world;
    char folder[4096];
    t->opened = 0;
    SY_TRY(world->ops->agree(world, write_parts(t, metrics)));
    if (sy_timeline_close(&t->timeline) != SY_OK)
        give_up(t);
    SY_TRY(world->ops->agree(world, SY_OK)); /* all files are there */
    if (world->rank > 0 || t->bad)
        return SY_OK;
    if (world->size > 1 && join(t, step) != SY_OK)
        give_up(t);
    folder_of(t, step, folder, sizeof folder);
    sy_log_info(t->log, "traced %s: open %s in https://ui.perfetto.dev or chrome://tracing", folder,
                world->size > 1 ? "trace.json" : "rank0_trace.json");
    return SY_OK;
}
