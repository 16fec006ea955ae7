/* switchyard verify: the same steps in many layouts, one table of digests; every row must equal the first. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fmath.h"
#include "comm/world.h"
#include "commands/layouts.h"
#include "train/classes.h"
#include "train/feed.h"
#include "train/io.h"
#include "train/plants.h"

struct outcome {
    double loss, tokens_per_s;
    char digest[SY_DIGEST_CHARS];
};

/* Some steps in one layout, for all its ranks; rank 0 fills in the outcome. */
struct task {
    struct sy_config *config;
    const struct sy_data *data;
    const struct sy_log *log;
    int64_t steps;
    const struct sy_comm *processes; /* NULL: ranks are threads */
    struct outcome *out;
};

static sy_status do_steps(struct sy_session *s, const struct task *t) {
    struct sy_step_result r = {.loss = NAN};
    struct outcome o;
    double begun = sy_clock(), tokens = 0;
    for (int64_t i = 0; i < t->steps; i++) {
        SY_TRY(sy_session_step(s, i, &r));
        tokens += (double)r.tokens;
    }
    o.tokens_per_s = tokens / (sy_clock() - begun);
    o.loss = r.loss;
    SY_TRY(sy_session_digest(s, o.digest));
    if (s->mesh.rank == 0)
        *t->out = o;
    return SY_OK;
}

static sy_status run_rank(const struct sy_comm *world, void *arg) {
    const struct task *t = arg;
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
static sy_status run_world(struct task *t) {
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

static sy_status run_layout(const struct task *task, const struct sy_layout *l, const char *plant,
                            struct outcome *out) {
    struct task t = *task;
    t.out = out;
    SY_TRY(sy_config_set(t.config, SY_LAYER_FLAG, "verify", "debug.break", plant));
    SY_TRY(sy_layout_set(t.config, l));
    return run_world(&t);
}

static int same(const struct outcome *a, const struct outcome *b) {
    return sy_f64_bits(a->loss) == sy_f64_bits(b->loss) && strcmp(a->digest, b->digest) == 0;
}

/* --- the table ------------------------------------------------------------------------------------------ */

static void print_head(const struct sy_io *io) {
    for (int f = 0; f < SY_N_LAYOUT_FACTORS; f++)
        sy_io_printf(io, "%*s  ", sy_layout_width(f), sy_layout_name(f));
    sy_io_printf(io, "loss bits         weights      tokens/s\n");
}

static void print_row(const struct sy_io *io, const struct sy_layout *l, const struct outcome *o,
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

/* At most `most` layouts of the cover; 0: all. */
static sy_status all_layouts(const struct task *t, int64_t most, const struct sy_io *io, int *n,
                             int *differ) {
    struct sy_layout *cover;
    struct outcome first, o;
    sy_status status = SY_OK;
    SY_TRY(sy_layouts_cover(t->config, t->processes ? t->processes->size : 1, &cover, n));
    *n = most > 0 && most < *n ? (int)most : *n;
    *differ = 0;
    for (int i = 0; i < *n && status == SY_OK; i++) {
        status = run_layout(t, &cover[i], "", &o);
        if (status != SY_OK)
            break;
        first = i == 0 ? o : first;
        *differ += !same(&first, &o);
        print_row(io, &cover[i], &o, i == 0 ? "first" : same(&first, &o) ? "same" : "DIFFERENT");
    }
    free(cover);
    return status;
}

/* --- planted bugs --------------------------------------------------------------------------------------- */

static int find_plant(const char *name, struct sy_plant *out) {
    for (int i = 0; sy_plant(i, out); i++)
        if (strcmp(out->name, name) == 0)
            return 1;
    return 0;
}

static sy_status list_plants(const char *plant, const struct sy_io *io) {
    struct sy_plant p;
    for (int i = 0; sy_plant(i, &p); i++)
        sy_io_printf(io, "%-20s %s\n", p.name, p.about);
    if (strcmp(plant, "list") == 0)
        return SY_OK;
    SY_FAIL(SY_ERR_USAGE, "--break %s: there is no planted bug of that name; they are listed above", plant);
}

/* The plainest layout with this value of the factor that a key is; 0: the key is none. */
static int set_factor(struct sy_layout *l, const char *key, const char *value) {
    static const struct {
        const char *key;
        enum sy_layout_factor factor;
    } factors[] = {{"run.ranks", SY_LAYOUT_ranks},
                   {"parallelism.expert_parallel_degree", SY_LAYOUT_ep},
                   {"parallelism.data_parallel_shard_degree", SY_LAYOUT_shard},
                   {"parallelism.fsdp_reshard_after_forward", SY_LAYOUT_reshard},
                   {"activation_checkpoint.mode", SY_LAYOUT_recompute}};
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++)
        for (int v = 0; strcmp(key, factors[i].key) == 0 && sy_layout_value(factors[i].factor, v); v++)
            if (strcmp(sy_layout_value(factors[i].factor, v), value) == 0) {
                l->of[factors[i].factor] = v;
                return 1;
            }
    return 0;
}

/* In a layout with what shows the plant; `name` is its own, or empty. */
static sy_status run_planted(const struct task *task, const struct sy_layout *l, const struct sy_plant *p,
                             const char *name, struct outcome *out) {
    struct task t = *task;
    t.out = out;
    SY_TRY(sy_config_set(t.config, SY_LAYER_FLAG, "verify", "debug.break", name));
    SY_TRY(sy_layout_set(t.config, l));
    for (int i = 0; i < SY_PLANT_OPTIONS && p->with[i].key; i++)
        SY_TRY(sy_config_set(t.config, SY_LAYER_FLAG, "verify", p->with[i].key, p->with[i].value));
    SY_TRY(sy_config_finish(t.config, sy_hopper_here()));
    return run_world(&t);
}

static sy_status planted(const struct task *t, const struct sy_plant *p, const struct sy_io *io) {
    const struct sy_config_numerics *r = &t->config->numerics;
    struct sy_layout l = {{[SY_LAYOUT_threads] = 1, [SY_LAYOUT_batch] = 2}};
    struct outcome good, bad;
    for (int i = 0; i < SY_PLANT_OPTIONS && p->with[i].key; i++)
        if (!set_factor(&l, p->with[i].key, p->with[i].value))
            sy_io_printf(io, "%s = %s\n", p->with[i].key, p->with[i].value);
    print_head(io);
    SY_TRY(run_planted(t, &l, p, "", &good));
    print_row(io, &l, &good, "as it should be");
    SY_TRY(run_planted(t, &l, p, p->name, &bad));
    print_row(io, &l, &bad, p->name);
    if (same(&good, &bad))
        SY_FAIL(SY_ERR_RUNTIME,
                "the planted bug %s was not caught: same digest; this recipe (lanes %lld, expert_lanes %lld, "
                "cell %lld) "
                "may not show it",
                p->name, (long long)r->lanes, (long long)r->expert_lanes, (long long)r->cell);
    sy_io_printf(io, "caught: %s\n", p->name);
    return SY_OK;
}

static sy_status compare(const struct task *t, int64_t most, const struct sy_io *io) {
    int n, differ;
    name_missing_tiers(io);
    print_head(io);
    SY_TRY(all_layouts(t, most, io, &n, &differ));
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
    sy_status status = sy_config_finish(j->config, sy_hopper_here());
    if (status == SY_OK)
        status = sy_data_open(j->config, &log, &data);
    if (processes)
        status = processes->ops->agree(processes, status);
    struct task t = {
        .config = j->config, .data = &data, .log = &log, .steps = j->options->steps, .processes = processes};
    if (status == SY_OK)
        status = j->plant ? planted(&t, j->plant, io) : compare(&t, j->options->layouts, io);
    sy_data_close(&data);
    return status;
}

/* Layouts of as many ranks as there are processes, of which the first speaks. */
static sy_status verify_process(const struct sy_comm *processes, void *arg) {
    const struct job *j = arg;
    static const struct sy_io quiet;
    return verify(processes, j, processes->rank == 0 ? j->io : &quiet);
}

sy_status sy_verify(struct sy_config *c, const struct sy_verify_options *o, const struct sy_io *io) {
    if (o->steps < 1 || o->steps > 1000000)
        SY_FAIL(SY_ERR_USAGE, "--steps %lld: must be in 1..1000000", (long long)o->steps);
    if (o->layouts < 0 || o->layouts > 1000000)
        SY_FAIL(SY_ERR_USAGE, "--layouts %lld: must be in 0..1000000 (0: all)", (long long)o->layouts);
    struct sy_plant plant;
    if (o->plant && !find_plant(o->plant, &plant))
        return list_plants(o->plant, io);
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
