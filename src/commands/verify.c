/* switchyard verify: the same steps in many layouts, one table of digests; every row must equal the first. */
#include <math.h>
#include <stdio.h>

#include "base/fmath.h"
#include "train/classes.h"
#include "train/io.h"
#include "train/session.h"

struct layout {
    int threads, batch;
    const char *recompute, *tier;
};

struct outcome {
    double loss;
    char digest[SY_DIGEST_CHARS];
};

static sy_status set(struct sy_config *c, const char *key, const char *text) {
    return sy_config_set(c, SY_LAYER_FLAG, "verify", key, text);
}

static sy_status set_int(struct sy_config *c, const char *key, int value) {
    char text[16];
    snprintf(text, sizeof text, "%d", value);
    return set(c, key, text);
}

static sy_status set_layout(struct sy_config *c, const struct layout *l, const char *plant) {
    SY_TRY(set_int(c, "run.threads", l->threads));
    SY_TRY(set_int(c, "training.local_batch_size", l->batch));
    SY_TRY(set(c, "activation_checkpoint.mode", l->recompute));
    SY_TRY(set(c, "activation_checkpoint.selective_ac_option", "op"));
    SY_TRY(set(c, "run.tier", l->tier));
    SY_TRY(sy_config_clear(c, SY_LAYER_FLAG, "verify",
                           "moe.routes_out")); /* a run's files are not ours to replace */
    SY_TRY(set(c, "debug.break", plant));
    return sy_config_finish(c, sy_hopper_here());
}

static sy_status run_layout(struct sy_config *c, const struct layout *l, const char *plant, int64_t steps,
                            const struct sy_log *log, struct outcome *out) {
    struct sy_session *s;
    struct sy_step_result r = {.loss = NAN};
    SY_TRY(set_layout(c, l, plant));
    SY_TRY(sy_session_create(c, log, SY_SESSION_TRAIN | SY_SESSION_DATA | SY_SESSION_INIT, &s));
    sy_status status = SY_OK;
    for (int64_t i = 0; i < steps && status == SY_OK; i++)
        status = sy_session_step(s, i, &r);
    if (status == SY_OK)
        status = sy_session_digest(s, out->digest);
    out->loss = r.loss;
    sy_session_destroy(s);
    return status;
}

static int same(const struct outcome *a, const struct outcome *b) {
    return sy_f64_bits(a->loss) == sy_f64_bits(b->loss) && strcmp(a->digest, b->digest) == 0;
}

static void print_head(const struct sy_io *io) {
    sy_io_printf(io, "threads  batch  recompute  tier         loss bits         weights\n");
}

static void print_row(const struct sy_io *io, const struct layout *l, const struct outcome *o,
                      const char *verdict) {
    sy_io_printf(io, "%7d  %5d  %-9s  %-11s  %016llx  %.11s  %s\n", l->threads, l->batch, l->recompute,
                 l->tier, (unsigned long long)sy_f64_bits(o->loss), o->digest, verdict);
}

/* Threads x batch x recompute on the tier that auto takes, then each other tier once. */
static sy_status all_layouts(struct sy_config *c, int64_t steps, const struct sy_io *io, int *n,
                             int *differ) {
    static const char *const modes[] = {"none", "full", "selective"};
    static const int threads[] = {1, 2, 3}, batches[] = {1, 2, 4};
    struct sy_log log = sy_io_log(io);
    struct outcome first, o;
    *n = *differ = 0;
    for (int i = 0; i < 27 + sy_ops_n_tiers(); i++) {
        const char *why;
        struct layout l = {threads[i / 9 % 3], batches[i / 3 % 3], modes[i % 3], "auto"};
        if (i >= 27) {
            l = (struct layout){2, 4, "none", sy_ops_tier_name(i - 27)};
            if (!sy_ops_tier(i - 27, &why)) {
                sy_io_printf(io, "%-34s  left out: %s\n", l.tier, why);
                continue;
            }
        }
        SY_TRY(run_layout(c, &l, "", steps, &log, &o));
        if ((*n)++ == 0)
            first = o;
        *differ += !same(&first, &o);
        print_row(io, &l, &o, *n == 1 ? "first" : same(&first, &o) ? "same" : "DIFFERENT");
    }
    return SY_OK;
}

static sy_status planted(struct sy_config *c, int64_t steps, const char *plant, const struct sy_io *io) {
    struct sy_log log = sy_io_log(io);
    struct layout l = {2, 4, "none", "auto"};
    struct outcome good, bad;
    int known = 0;
    for (int i = 0; sy_gradients_plant(i); i++)
        known |= strcmp(sy_gradients_plant(i), plant) == 0;
    if (!known) {
        for (int i = 0; sy_gradients_plant(i); i++)
            sy_io_printf(io, "%-15s %s\n", sy_gradients_plant(i), sy_gradients_plant_about(i));
        if (strcmp(plant, "list") == 0)
            return SY_OK;
        SY_FAIL(SY_ERR_USAGE, "--break %s: there is no planted bug of that name; they are listed above",
                plant);
    }
    print_head(io);
    SY_TRY(run_layout(c, &l, "", steps, &log, &good));
    print_row(io, &l, &good, "as it should be");
    SY_TRY(run_layout(c, &l, plant, steps, &log, &bad));
    print_row(io, &l, &bad, plant);
    if (same(&good, &bad))
        SY_FAIL(SY_ERR_RUNTIME,
                "the planted bug %s was not caught: same digest; this recipe (lanes %lld, expert_lanes %lld, "
                "cell %lld) "
                "may not show it",
                plant, (long long)c->numerics.lanes, (long long)c->numerics.expert_lanes,
                (long long)c->numerics.cell);
    sy_io_printf(io, "caught: %s\n", plant);
    return SY_OK;
}

sy_status sy_verify(struct sy_config *c, int64_t steps, const char *plant, const struct sy_io *io) {
    if (steps < 1 || steps > 1000000)
        SY_FAIL(SY_ERR_USAGE, "--steps %lld: must be in 1..1000000", (long long)steps);
    if (plant)
        return planted(c, steps, plant, io);
    print_head(io);
    int n, differ;
    SY_TRY(all_layouts(c, steps, io, &n, &differ));
    if (differ)
        SY_FAIL(SY_ERR_RUNTIME,
                "%d of %d layouts differ after %lld steps; `switchyard diff` on two runs finds where", differ,
                n, (long long)steps);
    sy_io_printf(io, "%d layouts, %lld steps: one digest\n", n, (long long)steps);
    return SY_OK;
}
