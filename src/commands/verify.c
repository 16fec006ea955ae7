/* switchyard verify: the same steps in many layouts, one table of digests; every row must equal the first. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/sized.h"
#include "base/fmath.h"
#include "comm/world.h"
#include "commands/verify.h"
#include "train/feed.h"
#include "train/io.h"
#include "train/start.h"

static sy_status do_steps(struct sy_session *s, const struct sy_verify_task *t) {
    struct sy_step_result r = {.loss = NAN};
    struct sy_outcome o;
    double begun = sy_clock(), tokens = 0;
    int rank = s->mesh.rank;
    for (int64_t i = 0; i < t->steps; i++) {
        if (t->values && i == t->steps - 1)
            SY_TRY(sy_values_step(&t->values[rank], s, i, &r));
        else
            SY_TRY(sy_session_step(s, i, &r));
        tokens += (double)r.tokens;
        if (t->each && rank == 0) {
            t->each[i].loss = r.loss;
            memcpy(t->each[i].digest, r.digest, sizeof r.digest);
        }
    }
    o.tokens_per_s = tokens / (sy_clock() - begun);
    o.loss = r.loss;
    SY_TRY(sy_session_digest(s, o.digest));
    if (rank == 0)
        *t->out = o;
    return SY_OK;
}

static sy_status run_rank(const struct sy_comm *world, void *arg) {
    const struct sy_verify_task *t = arg;
    struct sy_session *s;
    SY_TRY(sy_session_join(
        &(struct sy_session_options){.config = t->config,
                                     .log = world->rank == 0 ? t->log : NULL,
                                     .parts = SY_SESSION_TRAIN | SY_SESSION_DATA | SY_SESSION_INIT,
                                     .world = world,
                                     .data = t->data},
        &s));
    sy_status status = do_steps(s, t);
    sy_session_destroy(s);
    return status;
}

/* On threads; or on the processes, or the first of them alone, and all get the outcome. */
sy_status sy_verify_world(struct sy_verify_task *t) {
    struct sy_world_options world = sy_world_options(t->config);
    const struct sy_comm *p = t->processes;
    sy_status status = SY_OK;
    world.launched = 0;
    if (!p || (p->size != world.ranks && p->rank == 0))
        status = sy_world_run(&world, run_rank, t);
    else if (p->size == world.ranks)
        status = run_rank(p, t);
    return p ? p->ops->broadcast(p, status, 0, t->out, sizeof *t->out) : status;
}

static sy_status run_layout(const struct sy_verify_task *task, const struct sy_layout *l,
                            struct sy_outcome *out) {
    struct sy_verify_task t = *task;
    t.out = out;
    SY_TRY(sy_config_set(t.config, SY_LAYER_FLAG, "verify", "debug.break", ""));
    SY_TRY(sy_layout_set(t.config, l));
    return sy_verify_world(&t);
}

int sy_outcome_same(const struct sy_outcome *a, const struct sy_outcome *b) {
    return sy_f64_bits(a->loss) == sy_f64_bits(b->loss) && strcmp(a->digest, b->digest) == 0;
}

/* --- the table ------------------------------------------------------------------------------------------ */

void sy_verify_print_head(const struct sy_io *io) {
    for (int f = 0; f < SY_N_LAYOUT_FACTORS; f++)
        sy_io_printf(io, "%*s  ", sy_layout_width(f), sy_layout_name(f));
    sy_io_printf(io, "loss bits         weights      tokens/s\n");
}

void sy_verify_print_row(const struct sy_io *io, const struct sy_layout *l, const struct sy_outcome *o,
                         const char *verdict) {
    for (int f = 0; f < SY_N_LAYOUT_FACTORS; f++)
        sy_io_printf(io, "%*s  ", sy_layout_width(f), sy_layout_value(f, l->of[f]));
    sy_io_printf(io, "%016llx  %.11s  %8.0f  %s\n", (unsigned long long)sy_f64_bits(o->loss), o->digest,
                 o->tokens_per_s, verdict);
}

static void name_missing_tiers(const struct sy_io *io) {
    const char *why;
    for (int t = 0; t < sy_ops_n_tiers(); t++)
        if (!sy_ops_tier(t, &why))
            sy_io_printf(io, "tier %s is left out: %s\n", sy_ops_tier_name(t), why);
}

/* At most o->layouts of the cover; 0: all. */
static sy_status all_layouts(const struct sy_verify_task *t, const struct sy_verify_options *o,
                             const struct sy_io *io, int *n, int *differ) {
    struct sy_layouts_wanted wanted = {{0}};
    struct sy_layout *cover;
    struct sy_outcome first, this;
    sy_status status = SY_OK;
    for (int i = 0; i < o->n_only; i++)
        SY_TRY(sy_layouts_want(&wanted, o->only[i]));
    SY_TRY(sy_layouts_cover(t->config, t->processes ? t->processes->size : 1, &wanted, &cover, n));
    *n = o->layouts > 0 && o->layouts < *n ? (int)o->layouts : *n;
    *differ = 0;
    for (int i = 0; i < *n && status == SY_OK; i++) {
        status = run_layout(t, &cover[i], &this);
        if (status != SY_OK)
            break;
        first = i == 0 ? this : first;
        *differ += !sy_outcome_same(&first, &this);
        sy_verify_print_row(io, &cover[i], &this,
                            i == 0                           ? "first"
                            : sy_outcome_same(&first, &this) ? "same"
                                                             : "DIFFERENT");
    }
    free(cover);
    return status;
}

static sy_status compare(const struct sy_verify_task *t, const struct sy_verify_options *o,
                         const struct sy_io *io) {
    int n, differ;
    name_missing_tiers(io);
    sy_verify_print_head(io);
    SY_TRY(all_layouts(t, o, io, &n, &differ));
    if (differ)
        SY_FAIL(SY_ERR_RUNTIME,
                "%d of %d layouts differ after %lld steps; `switchyard diff` on two runs finds where", differ,
                n, (long long)t->steps);
    sy_io_printf(io, "%d layouts, %lld steps: one digest\n", n, (long long)t->steps);
    return SY_OK;
}

struct job {
    struct sy_config *config;
    const struct sy_verify_options *options;
    const struct sy_io *io;
    const struct sy_plant *plant;
};

static sy_status verify(const struct sy_comm *processes, const struct job *j, const struct sy_io *io) {
    struct sy_log log = sy_io_log(io);
    struct sy_data data = {0};
    sy_status status = sy_start_finish(j->config, &log);
    if (status == SY_OK)
        status = sy_data_open(j->config, &log, &data);
    if (processes)
        status = processes->ops->agree(processes, status);
    struct sy_verify_task t = {
        .config = j->config, .data = &data, .log = &log, .steps = j->options->steps, .processes = processes};
    if (status == SY_OK)
        status = j->plant ? sy_verify_plant(&t, j->plant, io) : compare(&t, j->options, io);
    sy_data_close(&data);
    return status;
}

/* Layouts of as many ranks as there are processes, of which the first speaks. */
static sy_status verify_process(const struct sy_comm *processes, void *arg) {
    const struct job *j = arg;
    static const struct sy_io quiet;
    return verify(processes, j, processes->rank == 0 ? j->io : &quiet);
}

sy_status sy_verify(struct sy_config *c, const struct sy_verify_options *given, const struct sy_io *io) {
    struct sy_verify_options own;
    SY_TRY(SY_OPTIONS(sy_verify_options, given, &own));
    const struct sy_verify_options *o = &own;
    if (o->steps < 1 || o->steps > 1000000)
        SY_FAIL(SY_ERR_USAGE, "--steps %lld: must be in 1..1000000", (long long)o->steps);
    if (o->layouts < 0 || o->layouts > 1000000)
        SY_FAIL(SY_ERR_USAGE, "--layouts %lld: must be in 0..1000000 (0: all)", (long long)o->layouts);
    if (o->plant && o->n_only > 0)
        SY_FAIL(SY_ERR_USAGE, "--only %s: a planted bug (--break %s) has its own layout", o->only[0],
                o->plant);
    struct sy_plant plant;
    if (o->plant && !sy_verify_find_plant(o->plant, &plant))
        return sy_verify_list_plants(o->plant, io);
    struct job job = {c, o, io, o->plant ? &plant : NULL};
    struct sy_world_options world = sy_world_options(c);
    struct sy_launch launch;
    int ranks;
    world.ranks = 1; /* layouts have their own */
    SY_TRY(sy_world_size(&world, &ranks, &launch));
    if (launch.size == 1)
        return verify(NULL, &job, io);
    if (o->plant)
        SY_FAIL(SY_ERR_USAGE, "--break %s: planted bugs are looked for in one process, and %s started %d",
                o->plant, sy_launcher_name(launch.launcher), launch.size);
    return sy_world_run(&world, verify_process, &job);
}
