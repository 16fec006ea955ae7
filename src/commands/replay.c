/* switchyard replay: steps of a run done again, in any layout, from the checkpoint before them; do loss, norm
 * and weights have the bits that the run wrote down?
 *
 *     steps 51 .. N  <-  checkpoint of step 50, or the initial values
 *                        what the run was: the config in its first checkpoint at or after N, or config.toml
 *
 * A run that keeps its recipe repeats bit for bit, so that a step which does not was changed by something
 * else: memory, a driver, a bug. Nothing is written to the run.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fmath.h"
#include "comm/world.h"
#include "commands/redo.h"
#include "commands/run_steps.h"
#include "train/io.h"
#include "train/resume.h"

struct replay {
    struct sy_config *config;
    const char *run;
    int64_t last;
    const struct sy_io *io;
    struct sy_log log;
    struct sy_run_steps steps;
    struct sy_resume resume;
    struct sy_launch place; /* of processes, which one it is */
    int64_t first_differs;  /* 0: none does; rank 0 knows */
};

static const struct sy_run_step *find(const struct sy_run_steps *s, int64_t step) {
    for (int64_t i = s->n; i-- > 0;) /* the last line of a step is the one that stands */
        if (s->step[i].step == step)
            return &s->step[i];
    return NULL;
}

static sy_status read_run(struct replay *r) {
    SY_TRY(sy_run_steps_read(r->run, &r->steps));
    const struct sy_run_steps *s = &r->steps;
    if (s->n == 0)
        SY_FAIL(SY_ERR_USAGE, "%s/metrics.jsonl: has no steps", r->run);
    int64_t first = s->step[0].step, last = s->step[s->n - 1].step;
    if (!find(s, r->last))
        SY_FAIL(SY_ERR_USAGE, "--step %" PRId64 ": %s/metrics.jsonl has steps %" PRId64 " to %" PRId64 "%s",
                r->last, r->run, first, last,
                r->last > first && r->last < last ? ", but no line of this one" : "");
    return SY_OK;
}

/* --- what the run was ----------------------------------------------------------------------------- */

/* Only the layout may be another; planted bugs are not planted again, and no file of the run is touched. */
static sy_status take_config(struct replay *r, struct sy_config *was, const char *where) {
    static const char why[] = "replay does the run's own steps again; leave this out";
    static const enum sy_config_effect kept[] = {SY_EFFECT_MODEL, SY_EFFECT_RECIPE, SY_EFFECT_START,
                                                 SY_EFFECT_ANSWER};
    struct sy_config *c = r->config;
    SY_TRY(sy_config_clear(was, SY_LAYER_FLAG, "replay", "debug.break"));
    SY_TRY(sy_config_clear(was, SY_LAYER_FLAG, "replay", "moe.routes_out"));
    SY_TRY(sy_config_inherit(c, was, where));
    if (r->place.size > 1) /* processes are the ranks, also where the run had threads */
        SY_TRY(sy_config_set(c, SY_LAYER_RULE, sy_launcher_name(r->place.launcher), "run.ranks", "1"));
    for (int i = 0; i < (int)(sizeof kept / sizeof *kept); i++)
        SY_TRY(sy_config_refuse_changes(c, was, kept[i], why));
    return sy_config_finish(c, false);
}

static sy_status set_config(struct replay *r) {
    char where[SY_CKPT_PATH_BYTES];
    struct sy_config *was;
    SY_TRY(sy_config_create(&was));
    sy_status status = sy_redo_config(r->run, r->last, was, where);
    if (status == SY_OK)
        status = take_config(r, was, where);
    sy_config_destroy(was);
    return status;
}

/* --- its steps ------------------------------------------------------------------------------------ */

static sy_status start(struct replay *r) {
    struct sy_mesh mesh;
    int ranks = r->place.size > 1 ? r->place.size : (int)r->config->run.ranks;
    SY_TRY(sy_mesh_create(r->config, ranks, 0, &mesh));
    SY_TRY(sy_redo_find(r->run, r->last, &r->log, &r->resume));
    if (r->resume.ckpt)
        return sy_config_clear(r->resume.before, SY_LAYER_FLAG, "replay", "debug.break");
    sy_io_printf(r->io, "no checkpoint before step %" PRId64 ": from the initial values\n", r->last);
    return SY_OK;
}

static void bits_of(const struct sy_step_result *is, char value[SY_RUN_STEP_KEYS][SY_RUN_STEP_VALUE]) {
    snprintf(value[0], SY_RUN_STEP_VALUE, "%016" PRIx64, sy_f64_bits(is->loss));
    snprintf(value[1], SY_RUN_STEP_VALUE, "%016" PRIx64, sy_f64_bits(is->norm));
    snprintf(value[2], SY_RUN_STEP_VALUE, "%s", is->digest);
}

/* One line, and what differs below it. A value that the run has not written is not compared. */
static void compare(struct replay *r, const struct sy_step_result *is) {
    static const char *const names[SY_RUN_STEP_KEYS] = {"loss", "gradient norm", "weights"};
    const struct sy_run_step *was = find(&r->steps, is->step);
    char value[SY_RUN_STEP_KEYS][SY_RUN_STEP_VALUE];
    int differ = 0;
    bits_of(is, value);
    for (int k = 0; was && k < SY_RUN_STEP_KEYS; k++)
        differ += *was->value[k] && strcmp(was->value[k], value[k]) != 0;
    sy_io_printf(r->io, "step %-8" PRId64 "  %s  %.11s  %s\n", is->step, value[0], value[2],
                 !was     ? "not in metrics.jsonl"
                 : differ ? "DIFFERENT"
                          : "same");
    for (int k = 0; differ && k < SY_RUN_STEP_KEYS; k++)
        if (*was->value[k] && strcmp(was->value[k], value[k]) != 0)
            sy_io_printf(r->io, "  %-13s  %s\n  %-13s  %s in the run\n", names[k], value[k], "",
                         was->value[k]);
    if (differ && r->first_differs == 0)
        r->first_differs = is->step;
}

/* Whether rank 0 was asked to stop: all know it. */
static sy_status asked_to_stop(const struct replay *r, const struct sy_comm *world, int64_t *stop) {
    *stop = world->rank == 0 && r->io->stop && *r->io->stop;
    return world->ops->sum_i64(world, SY_OK, stop, 1);
}

static sy_status steps(struct replay *r, struct sy_session *s, const struct sy_comm *world, int64_t step) {
    struct sy_step_result is;
    for (int64_t stop; step < r->last; step++) {
        SY_TRY(asked_to_stop(r, world, &stop));
        if (stop)
            SY_FAIL(SY_STOPPED, "stopped after step %" PRId64 " of %" PRId64, step, r->last);
        SY_TRY(sy_session_step(s, step, &is));
        if (world->rank == 0)
            compare(r, &is);
    }
    return SY_OK;
}

/* On every rank of the layout. */
static sy_status redo(const struct sy_comm *world, void *arg) {
    struct replay *r = arg;
    struct sy_session *s;
    int64_t step;
    SY_TRY(sy_redo_start(r->config, world->rank == 0 ? &r->log : NULL, &r->resume, world, &s, &step));
    sy_status status = steps(r, s, world, step);
    sy_session_destroy(s);
    return status;
}

static sy_status verdict(const struct replay *r) {
    if (r->first_differs == 0) {
        sy_io_printf(r->io, "step %" PRId64 ": the digest agrees\n", r->last);
        return SY_OK;
    }
    SY_FAIL(SY_ERR_RUNTIME,
            "step %" PRId64
            " of %s cannot be repeated: something else than its recipe changed the run there (memory, "
            "a device, or another build of the program)",
            r->first_differs, r->run);
}

/* Once in a process, before the ranks. */
static sy_status prepare(struct replay *r) {
    SY_TRY(read_run(r));
    SY_TRY(set_config(r));
    return start(r);
}

/* Each process reads the run; that all found the same checkpoint is checked. */
static sy_status redo_process(const struct sy_comm *world, void *arg) {
    struct replay *r = arg;
    int64_t from[2] = {0, 0};
    sy_status status = world->ops->agree(world, prepare(r));
    SY_TRY(status);
    from[0] = r->resume.ckpt ? sy_ckpt_info(r->resume.ckpt)->step : 0;
    from[1] = world->rank == 0 ? from[0] * world->size : 0;
    SY_TRY(world->ops->sum_i64(world, SY_OK, from, 2));
    if (from[0] != from[1])
        SY_FAIL(SY_ERR_DATA, "%s: the processes found other checkpoints before step %" PRId64, r->run,
                r->last);
    SY_TRY(redo(world, r));
    return world->ops->agree(world, world->rank == 0 ? verdict(r) : SY_OK);
}

/* Ranks are threads, or the processes that a launcher started. */
static sy_status run_world(struct replay *r) {
    struct sy_world_options world = sy_world_options(r->config);
    if (r->place.size > 1)
        return sy_world_run(&world, redo_process, r);
    SY_TRY(prepare(r));
    world = sy_world_options(r->config); /* the run's own, too */
    world.launched = 0;
    SY_TRY(sy_world_run(&world, redo, r));
    return verdict(r);
}

sy_status sy_replay(struct sy_config *config, const char *run, int64_t step, const struct sy_io *io) {
    struct replay r = {.config = config, .run = run, .last = step, .io = io, .log = sy_io_log(io)};
    if (step < 1)
        SY_FAIL(SY_ERR_USAGE, "--step %" PRId64 ": steps count from 1", step);
    static const struct sy_io quiet;
    struct sy_io rank_io = {.stop = io->stop};
    struct sy_world_options world = sy_world_options(config);
    int ranks;
    SY_TRY(sy_world_size(&world, &ranks, &r.place));
    if (r.place.rank > 0) {
        r.io = &rank_io;
        r.log = sy_io_log(&quiet);
    }
    sy_status status = run_world(&r);
    sy_resume_fini(&r.resume);
    free(r.steps.step);
    return status;
}
