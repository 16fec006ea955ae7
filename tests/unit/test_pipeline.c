/* The executor of pipelines: over every schedule, with the stages of a model on ranks that are threads, the
 * gradients, the loads and what is counted are the bits of the model that has all layers.
 *
 * Each rank has a session of its own, of which the whole weights, and a model of its stages alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "parallel/pipeline.h"
#include "train/feed.h"

#include "../lib/session.h"

enum { S = 32, BATCH = 8, LAYERS = 8, MOST_STAGES = 8 };

/* --- a session whose step's sequences stand in its memory ----------------------------------------------- */

struct shape {
    enum sy_parallelism_pipeline_parallel_schedule kind;
    int ranks, stages, local; /* local: sequences of a micro-batch */
    const char *flavor, *recompute;
    int less, more; /* layers that the first and the last stage have less */
};

static int micro_batches(const struct shape *q) { return (BATCH + q->local - 1) / q->local; }

static sy_status open_session(const struct shape *q, struct sy_session **out) {
    char local[8];
    snprintf(local, sizeof local, "%d", q->local);
    const char *options[][2] = {{"model.flavor", q->flavor},
                                {"model.n_layers", "8"},
                                {"training.dataset_path", "tests/data/prose.jsonl"},
                                {"training.global_batch_size", "8"},
                                {"training.local_batch_size", local},
                                {"training.seq_len", "32"},
                                {"numerics.lanes", "4"},
                                {"run.threads", "1"},
                                {"run.tier", "avx2"},
                                {"moe.seq_aux_loss_coeff", "0.01"},
                                {"activation_checkpoint.mode", q->recompute}};
    struct sy_config *c;
    SY_TRY(sy_config_create(&c));
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        SY_TRY(sy_config_set(c, SY_LAYER_FLAG, "test", options[i][0], options[i][1]));
    SY_TRY(sy_config_finish(c, false));
    SY_TRY(sy_session_create(c, NULL, SY_SESSION_TRAIN | SY_SESSION_INIT, out));
    struct sy_session *s = *out;
    for (int64_t i = 0; i < BATCH * S; i++) {
        s->feed.ids[i] = (int32_t)(i * i * 7 % 251);
        s->feed.labels[i] = i % 11 == 0 ? -1 : (int32_t)(i * 5 % 253);
        s->feed.doc_start[i] = (int32_t)(i % S / 20 * 20);
    }
    sy_feed_send(s, BATCH);
    s->step.scalars->w = 1.0f / (BATCH * S);
    *s->step.tally = sy_tally_empty;
    sy_gradients_begin(s->gradients, s->fed.ids);
    return SY_OK;
}

static struct sy_batch batch_of(void *self, int64_t mb) {
    const struct sy_session *s = self;
    int64_t local = sy_session_batch(s), first = mb * local, n = BATCH - first;
    return sy_feed_batch(s, first, n < local ? n : local);
}

static struct sy_batch all_but_the_last(void *self, int64_t mb) {
    const struct sy_session *s = self;
    struct sy_batch b = batch_of(self, mb);
    return b.at.first + b.at.n < BATCH ? b : sy_feed_batch(s, BATCH, 0);
}

/* The model that has all layers, micro-batch after micro-batch; *evaluated is the loss of all but the
 * last, of a pass without gradients before it. */
static struct sy_session *whole(const struct shape *q, int64_t *evaluated) {
    struct sy_session *s;
    expect_ok(open_session(q, &s));
    struct sy_grad_sink sink = sy_gradients_sink(s->gradients);
    for (int mb = 0; mb < micro_batches(q) - 1; mb++) {
        struct sy_batch b = batch_of(s, mb);
        expect_ok(sy_model_eval(s->model, &b));
    }
    *evaluated = s->step.tally->loss;
    *s->step.tally = sy_tally_empty;
    for (int mb = 0; mb < micro_batches(q); mb++) {
        struct sy_batch b = batch_of(s, mb);
        expect_ok(sy_model_train(s->model, &b, &sink));
    }
    expect_ok(sy_exec_wait(&s->exec));
    return s;
}

/* --- a rank --------------------------------------------------------------------------------------------- */

struct pipe { /* of all ranks */
    const struct shape *shape;
    const struct sy_schedule *schedule;
    const struct sy_session *whole;
    int64_t compared[MOST_STAGES], wrong[MOST_STAGES], sent[MOST_STAGES];
    struct sy_tally tally[MOST_STAGES], eval[MOST_STAGES];
};

static sy_status make_model(struct sy_session *s, const struct sy_model_stage *stages, int n,
                            struct sy_model **out) {
    const struct sy_config *c = s->config;
    return sy_model_create(&(struct sy_model_options){.model = &c->model,
                                                      .moe = &c->moe,
                                                      .recompute = &c->activation_checkpoint,
                                                      .exec = &s->exec,
                                                      .ep = sy_comm_self(),
                                                      .params = s->params,
                                                      .weights = s->weights.source,
                                                      .max_sequences = sy_session_batch(s),
                                                      .seq_len = S,
                                                      .combine_groups = c->numerics.combine_groups,
                                                      .loss_sequences = BATCH,
                                                      .scalars = s->step.scalars,
                                                      .tally = s->step.tally,
                                                      .counts = s->step.counts,
                                                      .stages = stages,
                                                      .n_stages = n},
                           out);
}

/* Whether the stage's rank has the parameter. */
static int has(const struct sy_session *s, const struct sy_model_stage *stage, int param) {
    int layer = s->params->param[param].layer;
    if (param == s->params->embedding)
        return stage->embeds;
    return layer < 0 ? stage->ends : layer >= stage->first && layer < stage->first + stage->n_layers;
}

static void compare(struct pipe *p, int rank, const struct sy_session *s,
                    const struct sy_model_stage *stage) {
    const struct sy_params *params = s->params;
    int64_t experts = s->config->moe.num_experts;
    for (int i = 0; i < params->n_params; i++) {
        const struct sy_param *q = &params->param[i];
        if (q->kind == SY_PARAM_BUFFER || !has(s, stage, i))
            continue;
        p->compared[rank]++;
        p->wrong[rank] +=
            memcmp(sy_gradients_root(s->gradients, i), sy_gradients_root(p->whole->gradients, i),
                   (size_t)(q->rows * q->cols) * sizeof(float)) != 0;
    }
    p->wrong[rank] +=
        memcmp(s->step.counts + stage->first * experts, p->whole->step.counts + stage->first * experts,
               (size_t)(stage->n_layers * experts) * sizeof(int64_t)) != 0;
}

static sy_status run_model(struct pipe *p, struct sy_session *s, const struct sy_comm *c,
                           struct sy_pipeline *pipeline) {
    struct sy_grad_sink sink = sy_gradients_sink(s->gradients);
    struct sy_pipeline_run run = {.self = s, .batch = all_but_the_last};
    sy_status status = sy_pipeline_run(pipeline, &run); /* forward alone leaves nothing behind */
    p->eval[c->rank] = *s->step.tally;
    *s->step.tally = sy_tally_empty;
    memset(s->step.counts, 0, (size_t)(LAYERS * s->config->moe.num_experts) * sizeof *s->step.counts);
    run.sink = &sink;
    run.batch = batch_of;
    if (status == SY_OK)
        status = sy_pipeline_run(pipeline, &run);
    p->tally[c->rank] = *s->step.tally;
    p->sent[c->rank] = sy_pipeline_sent(pipeline);
    return status;
}

static sy_status run_rank(struct pipe *p, struct sy_session *s, const struct sy_comm *c) {
    struct sy_model_stage stages[MOST_STAGES];
    int each = p->shape->stages / p->shape->ranks;
    struct sy_model *model;
    struct sy_pipeline *pipeline;
    struct sy_stages dealt = {p->shape->stages, p->shape->ranks, LAYERS, p->shape->less, p->shape->more};
    for (int i = 0; i < each; i++)
        stages[i] = sy_pipeline_stage(p->schedule, i * p->shape->ranks + c->rank, &dealt);
    SY_TRY(make_model(s, stages, each, &model));
    sy_status status = sy_pipeline_create(
        &(struct sy_pipeline_options){
            .schedule = p->schedule, .pp = *c, .exec = &s->exec, .model = model, .d = s->config->model.dim},
        &pipeline);
    if (status == SY_OK)
        status = run_model(p, s, c, pipeline);
    for (int i = 0; status == SY_OK && i < each; i++)
        compare(p, c->rank, s, &stages[i]);
    sy_pipeline_destroy(pipeline);
    sy_model_destroy(model);
    return status;
}

static sy_status rank(const struct sy_comm *c, void *arg) {
    struct pipe *p = arg;
    struct sy_session *s;
    SY_TRY(c->ops->agree(c, open_session(p->shape, &s)));
    sy_status status = c->ops->agree(c, run_rank(p, s, c));
    close_session(s);
    return status;
}

/* --- all of it ------------------------------------------------------------------------------------------ */

static int64_t boundary_bytes(const struct sy_session *s) {
    return S * s->config->model.dim * (int64_t)sy_dtype_bytes(s->exec.dtype);
}

/* Every boundary, both ways, and once more forward for the sequences of the evaluation. */
static int64_t all_bytes(const struct shape *q, const struct sy_session *s) {
    int64_t evaluated = (micro_batches(q) - 1) * q->local;
    return (q->stages - 1) * (2 * BATCH + evaluated) * boundary_bytes(s);
}

static void check(const struct shape *q) {
    int64_t evaluated;
    struct sy_session *s = whole(q, &evaluated);
    struct pipe p = {.shape = q, .whole = s};
    struct sy_schedule *schedule;
    expect_ok(sy_schedule_create(&(struct sy_schedule_shape){q->kind, q->ranks, q->stages, micro_batches(q)},
                                 &schedule));
    p.schedule = schedule;
    expect_ok(sy_comm_threads_run(q->ranks, rank, &p));
    int64_t compared = 0, wrong = 0, loss = 0, valid = 0, sent = 0, router = 0;
    for (int r = 0; r < q->ranks; r++) {
        compared += p.compared[r];
        wrong += p.wrong[r];
        loss += p.tally[r].loss;
        valid += p.tally[r].n_valid;
        router += p.tally[r].router_loss[0];
        sent += p.sent[r];
        assert_true(evaluated > 0);
        assert_int_equal(p.eval[r].loss, r == q->ranks - 1 ? evaluated : 0);
    }
    int trained = 0;
    for (int i = 0; i < s->params->n_params; i++)
        trained += s->params->param[i].kind != SY_PARAM_BUFFER;
    if (wrong || compared != trained)
        fail_msg("schedule %d, %d stages on %d ranks, %d sequences at a time: %lld of %lld gradients differ "
                 "(of %d)",
                 (int)q->kind, q->stages, q->ranks, q->local, (long long)wrong, (long long)compared, trained);
    assert_true(loss > 0 && router > 0);
    assert_int_equal(loss, s->step.tally->loss);
    assert_int_equal(valid, s->step.tally->n_valid);
    assert_int_equal(router, s->step.tally->router_loss[0]);
    assert_int_equal(sent, all_bytes(q, s));
    sy_schedule_destroy(schedule);
    close_session(s);
}

static void every_schedule_gives_the_same_bits(void **state) {
    (void)state;
    static const struct shape shapes[] = {
        {SY_SCHEDULE_GPIPE, 2, 2, 2, "micro_mla", "selective", 0, 0},
        {SY_SCHEDULE_GPIPE, 4, 4, 1, "micro_gqa", "none", 0, 0},
        {SY_SCHEDULE_1F1B, 2, 2, 1, "micro_gqa", "full", 0, 0},
        {SY_SCHEDULE_1F1B, 4, 4, 1, "micro_mla", "selective", 0, 0},
        {SY_SCHEDULE_1F1B, 3, 3, 3, "micro_mla", "none", 0, 0}, /* the last of three is smaller */
        {SY_SCHEDULE_INTERLEAVED_1F1B, 2, 4, 1, "micro_mla", "full", 0, 0},
        {SY_SCHEDULE_INTERLEAVED_1F1B, 4, 8, 1, "micro_gqa", "selective", 0, 0},
        {SY_SCHEDULE_INTERLEAVED_1F1B, 2, 6, 3, "micro_gqa", "none", 0, 0},
        {SY_SCHEDULE_INTERLEAVED_ZERO_BUBBLE, 2, 4, 1, "micro_gqa", "none", 0, 0},
        {SY_SCHEDULE_INTERLEAVED_ZERO_BUBBLE, 4, 4, 1, "micro_mla", "none", 0, 0},
        {SY_SCHEDULE_INTERLEAVED_ZERO_BUBBLE, 4, 8, 2, "micro_mla", "selective", 0, 0},
        {SY_SCHEDULE_INTERLEAVED_ZERO_BUBBLE, 3, 6, 3, "micro_gqa", "full", 0, 0},
        {SY_SCHEDULE_INTERLEAVED_1F1B, 1, 4, 2, "micro_mla", "none", 0, 0}, /* to itself */
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        check(&shapes[i]);
    }
}

/* The embedding alone, the head alone, and the layers between them. */
static void stages_without_layers_pass_on(void **state) {
    (void)state;
    static const struct shape shapes[] = {
        {SY_SCHEDULE_INTERLEAVED_1F1B, 2, 4, 1, "micro_mla", "selective", 4, 4},
        {SY_SCHEDULE_INTERLEAVED_ZERO_BUBBLE, 2, 4, 2, "micro_gqa", "none", 3, 3},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check(&shapes[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_schedule_gives_the_same_bits),
                                       cmocka_unit_test(stages_without_layers_pass_on)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
