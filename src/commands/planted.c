/* verify --break: a known bug is planted, must be caught, and is placed: the step from which it shows, of this
 * step the first value that differs with both bit patterns, and the first tensor of the model.
 *
 *     the steps, with it and without; where digests part, this step of both again and looked at (values.h);
 *     once more, for the numbers of the value that was found
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "commands/verify.h"
#include "train/classes.h"
#include "train/io.h"

int sy_verify_find_plant(const char *name, struct sy_plant *out) {
    for (int i = 0; sy_plant(i, out); i++)
        if (strcmp(out->name, name) == 0)
            return 1;
    return 0;
}

sy_status sy_verify_list_plants(const char *name, const struct sy_io *io) {
    struct sy_plant p;
    for (int i = 0; sy_plant(i, &p); i++)
        sy_io_printf(io, "%-20s %s\n", p.name, p.about);
    if (strcmp(name, "list") == 0)
        return SY_OK;
    SY_FAIL(SY_ERR_USAGE, "--break %s: there is no planted bug of that name; they are listed above", name);
}

/* --- the runs ------------------------------------------------------------------------------------------- */

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

struct pair { /* without the bug, and with it */
    const struct sy_verify_task *task;
    const struct sy_plant *plant;
    struct sy_layout layout;
    struct sy_outcome out[2], *each[2];
    struct sy_values *values[2]; /* [ranks] */
    int ranks;
};

/* In the layout with what shows the plant; bad: with it. steps: so many; looked_at: the last of them is. */
static sy_status run(struct pair *q, int bad, int64_t steps, int looked_at) {
    struct sy_verify_task t = *q->task;
    const struct sy_plant *p = q->plant;
    const char *data = p->data ? p->data : "";
    t.out = &q->out[bad];
    t.steps = steps;
    t.each = looked_at ? NULL : q->each[bad];
    t.values = looked_at ? q->values[bad] : NULL;
    SY_TRY(sy_config_set(t.config, SY_LAYER_FLAG, "verify", "debug.break", bad ? p->name : data));
    SY_TRY(sy_layout_set(t.config, &q->layout));
    for (int i = 0; i < SY_PLANT_OPTIONS && p->with[i].key; i++)
        SY_TRY(sy_config_set(t.config, SY_LAYER_FLAG, "verify", p->with[i].key, p->with[i].value));
    SY_TRY(sy_config_finish(t.config, sy_hopper_here()));
    return sy_verify_world(&t);
}

/* --- where it shows ------------------------------------------------------------------------------------- */

struct place {
    int rank, missing;
    int64_t at; /* in its values without the bug; -1: nowhere */
};

/* Of the rank that had the fewest equal values before it. */
static struct place first_place(const struct pair *q, int of_model) {
    struct place p = {0, 0, -1};
    for (int r = 0; r < q->ranks; r++) {
        int missing;
        int64_t at = sy_values_differ(&q->values[0][r], &q->values[1][r], of_model, &missing);
        if (at >= 0 && (p.at < 0 || at < p.at))
            p = (struct place){r, missing, at};
    }
    return p;
}

static void print_place(const struct pair *q, const struct place *p, const struct sy_value_name *name,
                        const char *tensor, const struct sy_params *params, const struct sy_io *io) {
    sy_value_print(name, params, io);
    if (p->missing)
        sy_io_printf(io, ": only the run without it has it\n");
    else
        sy_value_print_element(&q->values[0][p->rank], &q->values[1][p->rank], io);
    sy_io_printf(io, "caught: %s; the first tensor of the model that differs: %s\n", q->plant->name, tensor);
}

static sy_status locate(struct pair *q, int64_t step, const struct sy_io *io) {
    const struct sy_config *c = q->task->config;
    struct sy_params *params;
    for (int bad = 0; bad < 2; bad++)
        SY_TRY(run(q, bad, step, 1));
    struct place first = first_place(q, 0), of_model = first_place(q, 1);
    if (first.at < 0 || of_model.at < 0)
        SY_FAIL(SY_ERR_RUNTIME,
                "the planted bug %s changes the digest of step %" PRId64 ", and no value that is looked at",
                q->plant->name, step);
    struct sy_value_name name = q->values[0][first.rank].v[first.at].name,
                         tensor = q->values[0][of_model.rank].v[of_model.at].name;
    for (int bad = 0; bad < 2; bad++) {
        q->values[bad][first.rank].wanted = &name;
        SY_TRY(run(q, bad, step, 1));
    }
    sy_io_printf(io, "step %" PRId64, step);
    if (q->ranks > 1)
        sy_io_printf(io, ", rank %d", first.rank);
    sy_io_printf(io, ": the first value that differs\n");
    SY_TRY(sy_params_create(&c->model, &c->moe, &params));
    print_place(q, &first, &name, sy_value_tensor(&tensor, params), params, io);
    sy_params_destroy(params);
    return SY_OK;
}

static sy_status compare(struct pair *q, const struct sy_io *io) {
    const struct sy_config_numerics *r = &q->task->config->numerics;
    int64_t step = 0, steps = q->task->steps;
    sy_verify_print_head(io);
    for (int bad = 0; bad < 2; bad++) {
        SY_TRY(run(q, bad, steps, 0));
        sy_verify_print_row(io, &q->layout, &q->out[bad], bad ? q->plant->name : "as it should be");
    }
    while (step < steps && sy_outcome_same(&q->each[0][step], &q->each[1][step]))
        step++;
    if (step == steps)
        SY_FAIL(SY_ERR_RUNTIME,
                "the planted bug %s was not caught: same digest; this recipe (lanes %lld, expert_lanes %lld, "
                "cell %lld) may not show it",
                q->plant->name, (long long)r->lanes, (long long)r->expert_lanes, (long long)r->cell);
    return locate(q, step + 1, io);
}

sy_status sy_verify_plant(const struct sy_verify_task *t, const struct sy_plant *p, const struct sy_io *io) {
    struct pair q = {.task = t, .plant = p, .layout = {{[SY_LAYOUT_threads] = 1, [SY_LAYOUT_batch] = 2}}};
    sy_status status = SY_OK;
    for (int i = 0; i < SY_PLANT_OPTIONS && p->with[i].key; i++)
        if (!set_factor(&q.layout, p->with[i].key, p->with[i].value))
            sy_io_printf(io, "%s = %s\n", p->with[i].key, p->with[i].value);
    q.ranks = (int)strtol(sy_layout_value(SY_LAYOUT_ranks, q.layout.of[SY_LAYOUT_ranks]), NULL, 10);
    for (int bad = 0; bad < 2 && status == SY_OK; bad++) {
        q.each[bad] = calloc((size_t)t->steps, sizeof *q.each[bad]);
        q.values[bad] = calloc((size_t)q.ranks, sizeof *q.values[bad]);
        if (!q.each[bad] || !q.values[bad])
            status = sy_fail(SY_ERR_MEMORY, "no memory for the digests of %lld steps", (long long)t->steps);
    }
    if (status == SY_OK)
        status = compare(&q, io);
    for (int bad = 0; bad < 2; bad++) {
        for (int r = 0; q.values[bad] && r < q.ranks; r++)
            sy_values_fini(&q.values[bad][r]);
        free(q.values[bad]);
        free(q.each[bad]);
    }
    return status;
}
