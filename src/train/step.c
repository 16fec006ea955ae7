/* One step: a transaction. Everything is enqueued, from the first batch to the new weights; the host of one
 * rank waits once, at the end, and reads what was counted and what became of it:
 *
 *     scalars, empty tally, batch -> forward, backward ... -> norm -> judge -> adamw, bias
 *                                                                  -> tally, verdict, loads
 *
 * Over ranks gradients are reduced before the norm, the counts summed before judge, so that it is the same on
 * every rank, and updated weights are spread after it. A rank that fails comes to the next of these all the
 * same and says so: every rank gets the same status.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fmath.h"
#include "config/ramp.h"
#include "config/ranges.h"
#include "train/feed.h"
#include "train/plants.h"
#include "train/repeat.h"
#include "train/totals.h"

static int64_t step_of(const char *plant, const char *name) {
    size_t n = strlen(name);
    return strncmp(plant, name, n) == 0 ? atoll(plant + n) : 0;
}

/* debug.break = nan_at_step_N: a gradient element becomes NaN in step N; 0 if another or none. */
int64_t sy_session_planted_nan(const char *plant) { return step_of(plant, "nan_at_step_"); }

/* debug.break = flip_at_step_N: a bit of a weight flips in memory before step N. */
int64_t sy_session_planted_flip(const char *plant) { return step_of(plant, "flip_at_step_"); }

/* debug.break = gpu_lost_at_step_N: a GPU's op of step N writes where no memory is, which ends it. */
int64_t sy_session_planted_loss(const char *plant) { return step_of(plant, "gpu_lost_at_step_"); }

/* The first weight that is trained: a bit of its fraction. */
static sy_status flip(struct sy_session *s) {
    int i = 0;
    float x;
    while (!sy_state_is_trained(s->params, i))
        i++;
    struct sy_range_of own = sy_state_own(&s->state, i);
    if (own.first > 0 || own.n == 0)
        return SY_OK;
    SY_TRY(sy_state_read(&s->state, SY_STATE_W, i, 0, 1, &x));
    uint32_t bits = sy_f32_bits(x) ^ 1u << 12;
    memcpy(&x, &bits, sizeof x);
    return sy_state_write(&s->state, SY_STATE_W, i, 0, 1, &x);
}

/* --- enqueued ------------------------------------------------------------------------------------------- */

/* What the step's first copies read. */
static void set(struct sy_session *s, const struct sy_step_result *r) {
    const struct sy_config *c = s->config;
    struct sy_update_step u = {.t = s->applied + 1,
                               .lr = r->lr,
                               .beta1 = c->optimizer.beta1,
                               .beta2 = c->optimizer.beta2,
                               .eps = c->optimizer.eps,
                               .weight_decay = c->optimizer.weight_decay,
                               .max_norm = c->training.max_norm};
    s->seen.scalars->w = (float)(1.0 / (double)r->n_valid);
    sy_update_scalars(&u, s->seen.scalars);
    *s->seen.tally = sy_tally_empty;
}

static void begin(struct sy_session *s) {
    const struct sy_device *d = s->exec.device;
    d->copy(d, s->step.scalars, s->seen.scalars, sizeof *s->step.scalars);
    d->copy(d, s->step.tally, s->seen.tally, sizeof *s->step.tally);
    s->exec.ops->fill(&s->exec, &(struct sy_fill){.n = 2 * s->params->n_layers * s->config->moe.num_experts,
                                                  .data = s->step.counts});
}

/* Call i of the step. All data-parallel ranks make as many; some of them may have no sequences. Ranks
 * that share experts exchange rows all the same; of one alone weights are gathered, which is collective
 * too. */
static struct sy_batch call_batch(void *self, int64_t i) {
    const struct sy_session *s = self;
    const struct sy_call *call = &s->calls.call[i];
    struct sy_batch b = sy_feed_batch(s, call->first, call->n);
    b.group = s->groups.ep.size > 1 ? &call->group : NULL;
    return b;
}

/* Gradients that are complete go out while backward goes on; after a failure, with its status, at the end. */
static void send_complete(void *self) {
    const struct sy_session *s = self;
    if (sy_weights_status(&s->weights) != SY_OK)
        return;
    struct sy_profile_place before = sy_profile_enter(s->profile, SY_PART_reduce);
    sy_reduce_progress(s->reduce, s->may_wait);
    sy_profile_leave(s->profile, before);
}

static void before_stage(void *self, struct sy_batch *b) {
    const struct sy_session *s = self;
    sy_step_routes_before(s->routes, &s->walk, b);
}

static void after_stage(void *self, const struct sy_batch *b, int stage) {
    const struct sy_session *s = self;
    sy_step_routes_after(s->routes, &s->walk, b, sy_stages_layers(&s->mesh.stages, stage));
}

static sy_status accumulate(struct sy_session *s) {
    struct sy_grad_sink sink = sy_profile_sink(s->profile, sy_gradients_sink(s->gradients));
    sy_profile_mark(s->profile, SY_PART_host);
    sy_gradients_begin(s->gradients, s->fed.ids);
    sy_reduce_begin(s->reduce);
    s->may_wait = 0;
    sy_gradients_after_flush(s->gradients, send_complete, s);
    if (s->pipeline) {
        SY_TRY(sy_pipeline_run(s->pipeline, &(struct sy_pipeline_run){.self = s,
                                                                      .batch = call_batch,
                                                                      .sink = &sink,
                                                                      .before = before_stage,
                                                                      .after = after_stage}));
        return sy_weights_status(&s->weights);
    }
    for (int64_t i = 0; i < s->calls.n; i++) {
        struct sy_batch b = call_batch(s, i);
        s->may_wait = s->all_end_together && i == s->calls.n - 1;
        if (b.at.n == 0 && !b.group) {
            sy_model_idle(s->model, 1);
            continue;
        }
        sy_step_routes_before(s->routes, &s->walk, &b);
        SY_TRY(sy_model_train(s->model, &b, &sink));
        sy_step_routes_after(s->routes, &s->walk, &b, (struct sy_share){0, s->params->n_layers});
    }
    return sy_weights_status(&s->weights);
}

/* The first element of the head's gradient, on the rank that owns it. */
static void plant_nan(struct sy_session *s) {
    const struct sy_params *p = s->params;
    int head = p->n_sites > 0 ? p->embedding : p->head;
    for (int i = 0; i < p->n_tensors; i++)
        if (p->tensor[i].param == head && sy_state_own(&s->state, i).first == 0 &&
            sy_state_own(&s->state, i).n > 0)
            s->exec.ops->fill(
                &s->exec,
                &(struct sy_fill){.n = 1, .word = sy_f32_bits(NAN), .data = sy_reduce_own(s->reduce, i)});
}

/* Experts' gradients doubled, once for each doubling of EP. */
static void plant_scale(struct sy_session *s) {
    const struct sy_params *p = s->params;
    for (int ep = s->mesh.ep; ep > 1; ep /= 2)
        for (int i = 0; i < p->n_tensors; i++) {
            int64_t n =
                p->param[p->tensor[i].param].kind == SY_PARAM_EXPERT ? sy_state_own(&s->state, i).n : 0;
            float *g = n > 0 ? sy_reduce_own(s->reduce, i) : NULL;
            if (g)
                s->exec.ops->add_f32(&s->exec, &(struct sy_add_f32){&(struct sy_add_item){n, g, g}, 1});
        }
}

static void norm(struct sy_session *s, const struct sy_step_result *r) {
    if (sy_plant_is(s->config, "experts_scaled"))
        plant_scale(s);
    if (r->step == sy_session_planted_nan(s->config->debug.break_))
        plant_nan(s);
    if (r->step == sy_session_planted_loss(s->config->debug.break_))
        s->exec.ops->fill(&s->exec, &(struct sy_fill){.n = 1, .data = (void *)(uintptr_t)4096});
    sy_profile_mark(s->profile, SY_PART_norm);
    sy_update_norm(s->update, s->reduce, s->step.tally);
}

static void update(struct sy_session *s) {
    sy_profile_mark(s->profile, SY_PART_adamw);
    sy_update_apply(s->update, s->reduce,
                    &(struct sy_update_memory){s->step.scalars, s->step.tally, s->step.verdict});
}

/* --- waited for ----------------------------------------------------------------------------------------- */

static size_t counts_bytes(const struct sy_session *s) {
    return (size_t)(s->params->n_layers * s->config->moe.num_experts) * sizeof *s->seen.counts;
}

/* Tally and loads of all ranks in the place of this one's. Returns the agreed status. */
static sy_status count_together(struct sy_session *s, sy_status mine) {
    const struct sy_device *d = s->exec.device;
    const struct sy_comm *world = &s->groups.world;
    if (world->size == 1)
        return mine;
    d->copy(d, s->seen.tally, s->step.tally, sizeof *s->seen.tally);
    d->copy(d, s->seen.counts, s->step.counts, counts_bytes(s));
    sy_status waited = sy_exec_wait(&s->exec);
    sy_status status = sy_tally_total(world, mine == SY_OK ? waited : mine, s->seen.tally);
    SY_TRY(world->ops->sum_i64(world, status, s->seen.counts,
                               (int64_t)(counts_bytes(s) / sizeof *s->seen.counts)));
    d->copy(d, s->step.tally, s->seen.tally, sizeof *s->seen.tally);
    if (!sy_plant_is(s->config, "bias_local"))
        d->copy(d, s->step.counts, s->seen.counts, counts_bytes(s));
    return SY_OK;
}

static sy_status read_back(struct sy_session *s) {
    const struct sy_device *d = s->exec.device;
    const struct sy_comm *world = &s->groups.world;
    d->copy(d, s->seen.tally, s->step.tally, sizeof *s->seen.tally);
    d->copy(d, s->seen.verdict, s->step.verdict, sizeof *s->seen.verdict);
    d->copy(d, s->seen.counts, s->step.counts, counts_bytes(s));
    return world->ops->sum_i64(world, sy_exec_wait(&s->exec), (int64_t *)s->seen.verdict->digest, 2);
}

struct token { /* that the tally names */
    long long layer, sequence, position;
};
static struct token token_of(const struct sy_session *s, int64_t key) {
    int64_t t = key / s->params->n_layers, seq = s->config->training.seq_len;
    return (struct token){key % s->params->n_layers, t / seq, t % seq};
}

static sy_status check_recompute(const struct sy_session *s) {
    const struct sy_tally *t = s->seen.tally;
    struct token at = token_of(s, t->changed[0]);
    if (t->changed[0] == SY_NO_TOKEN)
        return SY_OK;
    SY_FAIL(SY_ERR_RUNTIME,
            "layer %lld: recompute differs from forward at token %lld of sequence %lld of the batch: expert "
            "%lld, now %lld; "
            "memory or hardware is faulty, or this is a bug (activation_checkpoint.determinism_check)",
            at.layer, at.position, at.sequence, (long long)t->changed[1], (long long)t->changed[2]);
}

/* Why the step was not applied; "" if it was. */
static void explain(const struct sy_session *s, struct sy_step_result *r) {
    const struct sy_tally *t = s->seen.tally;
    struct token at = token_of(s, t->bad_token);
    if (t->bad_token != SY_NO_TOKEN)
        snprintf(r->why, sizeof r->why,
                 "layer %lld: router: token %lld of sequence %lld of the batch has a NaN logit", at.layer,
                 at.position, at.sequence);
    else if (t->n_bad_router)
        snprintf(r->why, sizeof r->why, "router losses of %lld sequences are not finite, summed over layers",
                 (long long)t->n_bad_router);
    else if (t->n_bad)
        snprintf(r->why, sizeof r->why, "%lld of %lld token losses are not finite", (long long)t->n_bad,
                 (long long)r->n_valid);
    else if (!s->seen.verdict->apply)
        snprintf(r->why, sizeof r->why, "%lld gradient elements are not finite, or their norm is not",
                 (long long)t->n_bad_gradient);
}

static void report(struct sy_session *s, struct sy_step_result *r) {
    const struct sy_config *c = s->config;
    const struct sy_tally *t = s->seen.tally;
    int64_t summed = c->training.global_batch_size * (s->params->n_layers - c->model.n_dense_layers);
    int ran = t->bad_token == SY_NO_TOKEN; /* no router met a NaN: losses and loads mean something */
    /* the sums lack those that are not finite */
    double scale = t->n_bad_router ? (double)NAN : 0x1p-24 / (double)summed;
    r->has_balance_loss = ran && c->moe.seq_aux_loss_coeff > 0 && summed > 0;
    r->has_z_loss = ran && c->moe.z_loss_coeff > 0 && summed > 0;
    r->balance_loss = r->has_balance_loss ? (double)t->router_loss[0] * scale : 0.0;
    r->z_loss = r->has_z_loss ? (double)t->router_loss[1] * scale : 0.0;
    r->counted = ran;
    r->n_bad = t->n_bad;
    r->n_bad_router = ran ? t->n_bad_router : 0;
    int lost = !ran || t->n_bad || t->n_bad_router;
    r->loss = lost ? NAN : (double)t->loss * 0x1p-24 / (double)r->n_valid;
    r->norm = lost ? NAN : s->seen.verdict->norm;
    r->applied = s->seen.verdict->apply;
    if (!ran)
        memset(s->seen.counts, 0, counts_bytes(s));
    explain(s, r);
    sy_digest_hex(&(struct sy_digest){{s->seen.verdict->digest[0], s->seen.verdict->digest[1]}}, r->digest);
}

/* --- a step --------------------------------------------------------------------------------------------- */

/* What all ranks have in the step: their valid labels, and whether it is skipped. */
static sy_status open_step(struct sy_session *s, sy_status mine, struct sy_step_result *r, int *skipped) {
    const struct sy_comm *world = &s->groups.world;
    if (mine == SY_OK)
        r->n_valid = sy_feed_send(s, sy_walk_length(&s->walk));
    SY_TRY(world->ops->sum_i64(world, mine, &r->n_valid, 1));
    r->n_valid /= s->mesh.pp; /* a pipeline's ranks have the same sequences */
    if (r->n_valid == 0)
        SY_FAIL(SY_ERR_DATA,
                "step %lld has no valid label: every token of its %lld sequences ends a document",
                (long long)r->step, (long long)s->config->training.global_batch_size);
    return world->ops->agree(world, sy_step_routes_begin(s->routes, r->step, skipped));
}

/* From the first op to the new weights. */
static sy_status enqueue(struct sy_session *s, const struct sy_step_result *r) {
    begin(s);
    sy_status mine = accumulate(s);
    sy_profile_mark(s->profile, SY_PART_reduce);
    mine = sy_reduce_run(s->reduce, mine);
    if (mine == SY_ERR_PEER) /* the others learn it when this rank leaves */
        return mine;
    if (mine == SY_OK)
        norm(s, r);
    SY_TRY(count_together(s, mine));
    update(s);
    return SY_OK;
}

static sy_status compute(struct sy_session *s, const struct sy_step_result *r) {
    set(s, r);
    if (!sy_repeat_step(s)) {
        sy_status status = enqueue(s, r);
        if (!sy_repeat_done(s))
            status = enqueue(s, r);
        SY_TRY(status);
    }
    sy_feed_fetch_ahead(s, r->step); /* r->step is counted from 1 */
    return read_back(s);
}

static sy_status filled(struct sy_session *s, sy_status mine, int64_t step, struct sy_step_result *r) {
    const struct sy_config *c = s->config;
    int skipped = 0;
    *r = (struct sy_step_result){.step = step + 1, .loss = NAN, .norm = NAN};
    SY_TRY(open_step(s, mine, r, &skipped));
    r->lr = sy_schedule_lr(&c->lr_scheduler, c->optimizer.lr, step, c->training.steps);
    r->asked = sy_step_ranges_have(c->training.skip_steps.n, c->training.skip_steps.items, r->step);
    if (skipped || r->asked) {
        snprintf(r->why, sizeof r->why, "%s",
                 r->asked ? "training.skip_steps has it"
                          : "the routes that are followed say that this step was skipped");
        SY_TRY(sy_step_routes_end(s->routes, &s->groups.world, r->step, 0));
        return sy_session_digest(s, r->digest);
    }
    r->tokens = c->training.global_batch_size * c->training.seq_len;
    if (r->step == sy_session_planted_flip(c->debug.break_))
        SY_TRY(flip(s));
    SY_TRY(compute(s, r));
    while (s->seen.tally->overflow) { /* nothing was applied, and no number means anything */
        SY_TRY(sy_session_regrow(s, s->seen.tally->overflow));
        SY_TRY(compute(s, r));
    }
    SY_TRY(check_recompute(s));
    report(s, r);
    if (r->applied) {
        s->applied++;
        sy_profile_mark(s->profile, SY_PART_spread);
        SY_TRY(sy_session_spread(s));
    }
    return sy_step_routes_end(s->routes, &s->groups.world, r->step, r->counted);
}

sy_status sy_session_step(struct sy_session *s, int64_t step, struct sy_step_result *r) {
    if (s->config->training.batch_ramp.n > 0)
        SY_TRY(sy_session_set_batch(s, sy_step_sequences(&s->config->training, step)));
    double t0 = sy_clock();
    sy_status status = sy_feed_fetch(s, step);
    double seconds = sy_clock() - t0;
    status = filled(s, status, step, r);
    r->data_seconds = seconds;
    return status;
}

sy_status sy_session_step_filled(struct sy_session *s, int64_t step, struct sy_step_result *r) {
    return filled(s, SY_OK, step, r);
}
