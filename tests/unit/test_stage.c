/* A stage's backward in two halves gives the bits of one that is whole, in any interleaving of micro-batches;
 * and no bit of the head's loss and gradients depends on how many tokens a chunk has.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/head.h"
#include "model/stage.h"
#include "train/feed.h"

#include "../lib/session.h"

enum { S = 128, MICRO_BATCHES = 3, EACH = 2, BATCH = MICRO_BATCHES * EACH };

/* --- a session, and what its model is made of, once more ------------------------------------------------ */

struct problem {
    struct sy_config *config;
    struct sy_session *s;
    struct sy_layer_ctx c;
    struct sy_moe_counters counters;
    struct sy_gradients *gradients;
    float cos[S * 64], sin[S * 64];
};

static void fill_feed(struct problem *p) {
    struct sy_feed *f = &p->s->feed;
    for (int64_t i = 0; i < BATCH * S; i++) {
        f->ids[i] = (int32_t)(i * i * 7 % 251);
        f->labels[i] = i % 11 == 0 ? -1 : (int32_t)(i * 5 % 253);
        f->doc_start[i] = (int32_t)(i % S / 50 * 50);
    }
    sy_feed_send(p->s, BATCH);
}

/* tokens: of a call of the head, whose gradients may come in pieces of `piece`. */
static struct problem *problem(const char *flavor, const char *recompute, int64_t tokens, int64_t piece) {
    struct problem *p = calloc(1, sizeof *p);
    assert_non_null(p);
    const char *options[][2] = {{"model.flavor", flavor},
                                {"training.dataset_path", "tests/data/prose.jsonl"},
                                {"training.global_batch_size", "6"},
                                {"training.local_batch_size", "2"},
                                {"training.seq_len", "128"},
                                {"numerics.lanes", "2"},
                                {"run.threads", "2"},
                                {"activation_checkpoint.mode", recompute}};
    p->config = config_with(options, sizeof options / sizeof *options);
    p->s = session_of(p->config, SY_SESSION_TRAIN | SY_SESSION_INIT);
    const struct sy_session *s = p->s;
    const struct sy_config *config = p->config;
    p->c = (struct sy_layer_ctx){.x = &s->exec,
                                 .model = &config->model,
                                 .moe = {.x = &s->exec,
                                         .config = &config->moe,
                                         .ep = sy_comm_self(),
                                         .d = config->model.dim,
                                         .f = config->model.moe_inter_dim,
                                         .seq_len = S,
                                         .max_sequences = tokens / S,
                                         .max_tokens = tokens,
                                         .max_rounds = 1,
                                         .combine_groups = config->numerics.combine_groups,
                                         .loss_sequences = BATCH,
                                         .counters = &p->counters},
                                 .params = s->params,
                                 .weights = s->weights.source,
                                 .rope_cos = p->cos,
                                 .rope_sin = p->sin,
                                 .attention_scale = sy_attention_scale(&config->model),
                                 .max_tokens = tokens,
                                 .max_sequences = tokens / S,
                                 .max_seq_len = S,
                                 .scalars = s->step.scalars,
                                 .tally = s->step.tally,
                                 .counts = s->step.counts};
    int mla = config->model.attention == SY_ATTENTION_MLA;
    int64_t rope = mla ? config->model.qk_rope_head_dim : config->model.head_dim;
    assert_true(rope / 2 <= 64);
    sy_rope_tables(&config->model, rope, S, p->cos, p->sin);
    expect_ok(sy_gradients_create(&(struct sy_gradients_options){.params = s->params,
                                                                 .exec = &s->exec,
                                                                 .walk = s->walk,
                                                                 .seq_len = S,
                                                                 .max_sequences = tokens / S,
                                                                 .head_piece = piece,
                                                                 .plant = ""},
                                  &p->gradients));
    fill_feed(p);
    return p;
}

static void close_problem(struct problem *p) {
    sy_gradients_destroy(p->gradients);
    close_session(p->s);
    free(p);
}

/* An empty tally; the gradients of nothing. */
static void begin(struct problem *p) {
    const struct sy_session *s = p->s;
    s->step.scalars->w = 1.0f / (BATCH * S);
    *s->step.tally = sy_tally_empty;
    sy_gradients_begin(p->gradients, s->fed.ids);
}

/* The gradients of the layers' parameters, or of the head's, one after the other. Owned by the caller. */
static float *roots(const struct problem *p, int layers, int64_t *n) {
    const struct sy_params *params = p->s->params;
    float *all = NULL;
    *n = 0;
    for (int i = 0; i < params->n_params; i++) {
        const struct sy_param *param = &params->param[i];
        int64_t size = param->rows * param->cols;
        if (param->kind == SY_PARAM_BUFFER || /* not trained: it has none */
            (layers ? param->layer < 0 : i != params->head && i != params->final_norm))
            continue;
        all = realloc(all, (size_t)(*n + size) * sizeof *all);
        assert_non_null(all);
        memcpy(all + *n, sy_gradients_root(p->gradients, i), (size_t)size * sizeof *all);
        *n += size;
    }
    return all;
}

/* --- the stage ------------------------------------------------------------------------------------------ */

enum call { FWD, BWD, INPUTS, WEIGHTS };
struct event {
    enum call call;
    int mb;
};

struct outcome {
    float *out, *din, *gradients; /* [BATCH * S * D] fp32, the same, all parameters' */
    int64_t n_rows, n;
    struct sy_tally tally;
};

static size_t row_bytes(const struct problem *p) {
    return (size_t)p->config->model.dim * (p->s->exec.dtype == SY_F32 ? 4 : 2);
}

static struct sy_mat rows_of(const struct problem *p, void *memory, int mb) {
    return sy_mat_of((char *)memory + (size_t)mb * EACH * S * row_bytes(p), p->s->exec.dtype,
                     p->config->model.dim);
}

static void carve_stage(void *self, struct sy_arena *a) { sy_stage_carve(self, a); }

static struct outcome run_stage(struct problem *p, int pending, int split, const struct event *events,
                                size_t n) {
    struct sy_stage *stage;
    struct sy_arena arena = {0};
    int64_t d = p->config->model.dim;
    size_t bytes = (size_t)BATCH * S * row_bytes(p);
    expect_ok(sy_stage_create(&(struct sy_stage_options){.ctx = &p->c,
                                                         .recompute = &p->config->activation_checkpoint,
                                                         .n_layers = (int)p->config->model.n_layers,
                                                         .pending = pending,
                                                         .split = split},
                              &stage));
    expect_ok(sy_arena_build(p->s->exec.device, "a stage", carve_stage, stage, &arena));

    struct outcome r = {.n_rows = BATCH * S * d};
    char *in = malloc(bytes), *out = calloc(1, bytes), *din = calloc(1, bytes);
    assert_true(in && out && din);
    p->s->exec.ops->embed_fwd(&p->s->exec,
                              &(struct sy_embed_fwd){.tokens = BATCH * S,
                                                     .d = d,
                                                     .ids = p->s->fed.ids,
                                                     .w = p->c.weights.ends(p->c.weights.self)->embedding,
                                                     .y = sy_mat_of(in, p->s->exec.dtype, d)});
    begin(p);
    struct sy_grad_sink sink = sy_gradients_sink(p->gradients);
    for (size_t i = 0; i < n; i++) {
        int mb = events[i].mb, slot = mb % pending;
        struct sy_batch b = sy_feed_batch(p->s, mb * EACH, EACH);
        struct sy_mat y = rows_of(p, out, mb), dx = rows_of(p, din, mb);
        if (events[i].call == FWD)
            expect_ok(sy_stage_fwd(stage, slot, &b, SY_PASS_TRAIN, rows_of(p, in, mb), y));
        else if (events[i].call == BWD)
            expect_ok(sy_stage_bwd(stage, slot, y, dx, &sink)); /* the gradient of half the sum of squares */
        else if (events[i].call == INPUTS)
            expect_ok(sy_stage_bwd_inputs(stage, slot, y, dx));
        else
            sy_stage_bwd_weights(stage, slot, &sink);
    }
    expect_ok(sy_exec_wait(&p->s->exec));
    r.gradients = roots(p, 1, &r.n);
    r.tally = *p->s->step.tally;
    r.out = (float *)(void *)out;
    r.din = (float *)(void *)din;
    r.n_rows = (int64_t)bytes;
    free(in);
    sy_stage_destroy(stage);
    sy_arena_fini(&arena);
    return r;
}

static void free_outcome(struct outcome *r) {
    free(r->out);
    free(r->din);
    free(r->gradients);
}

static int is_zero(const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (x[i] != 0)
            return 0;
    return 1;
}

static void check_equal(const struct outcome *a, const struct outcome *b) {
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->out, b->out, (size_t)a->n_rows);
    assert_memory_equal(a->din, b->din, (size_t)a->n_rows);
    assert_memory_equal(a->gradients, b->gradients, (size_t)a->n * sizeof(float));
    assert_memory_equal(&a->tally, &b->tally, sizeof a->tally);
}

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void halves_equal_the_whole(void **state) {
    (void)state;
    static const char *const flavors[] = {"micro_mla", "micro_gqa"}, *const modes[] = {"none", "selective",
                                                                                       "full"};
    static const struct event whole[] = {{FWD, 0}, {BWD, 0}, {FWD, 1}, {BWD, 1}, {FWD, 2}, {BWD, 2}};
    static const struct event in_turn[] = {{FWD, 0},     {INPUTS, 0}, {WEIGHTS, 0}, {FWD, 1},    {INPUTS, 1},
                                           {WEIGHTS, 1}, {FWD, 2},    {INPUTS, 2},  {WEIGHTS, 2}};
    /* Another's forward between the halves; inputs in reverse; a slot used again. */
    static const struct event mixed[] = {{FWD, 0}, {FWD, 1},     {INPUTS, 1}, {INPUTS, 0}, {WEIGHTS, 0},
                                         {FWD, 2}, {WEIGHTS, 1}, {INPUTS, 2}, {WEIGHTS, 2}};
    static const struct event three[] = {{FWD, 0},    {FWD, 1},     {INPUTS, 0},  {FWD, 2},    {INPUTS, 1},
                                         {INPUTS, 2}, {WEIGHTS, 0}, {WEIGHTS, 1}, {WEIGHTS, 2}};
    for (int f = 0; f < 2; f++)
        for (int m = 0; m < 3; m++) {
            struct problem *p = problem(flavors[f], modes[m], EACH * S, S);
            struct outcome a = run_stage(p, 1, 0, whole, COUNT(whole));
            struct outcome b = run_stage(p, 1, 1, in_turn, COUNT(in_turn));
            struct outcome c = run_stage(p, 2, 1, mixed, COUNT(mixed));
            struct outcome d = run_stage(p, 3, 1, three, COUNT(three));
            struct outcome e = run_stage(p, 3, 0, whole, COUNT(whole));
            assert_false(is_zero(a.gradients, a.n));
            check_equal(&a, &b);
            check_equal(&a, &c);
            check_equal(&a, &d);
            check_equal(&a, &e);
            struct outcome *all[] = {&a, &b, &c, &d, &e};
            for (int i = 0; i < 5; i++)
                free_outcome(all[i]);
            close_problem(p);
        }
}

/* A stage without backward has no halves to part: it computes the same, whatever `split` says. */
static void forward_alone_is_not_split(void **state) {
    (void)state;
    static const struct event whole[] = {{FWD, 0}, {BWD, 0}, {FWD, 1}, {BWD, 1}, {FWD, 2}, {BWD, 2}};
    struct problem *p = problem("micro_mla", "none", EACH * S, S);
    struct outcome r = run_stage(p, 1, 0, whole, COUNT(whole));
    int64_t d = p->config->model.dim;
    size_t bytes = (size_t)EACH * S * row_bytes(p);
    for (int split = 0; split < 2; split++) {
        struct sy_stage *stage;
        struct sy_arena arena = {0};
        expect_ok(sy_stage_create(
            &(struct sy_stage_options){
                .ctx = &p->c, .n_layers = (int)p->config->model.n_layers, .pending = 2, .split = split},
            &stage));
        expect_ok(sy_arena_build(p->s->exec.device, "a stage", carve_stage, stage, &arena));
        for (int mb = 0; mb < 2; mb++) {
            char *in = malloc(bytes), *out = calloc(1, bytes);
            assert_true(in && out);
            struct sy_batch b = sy_feed_batch(p->s, mb * EACH, EACH);
            p->s->exec.ops->embed_fwd(
                &p->s->exec, &(struct sy_embed_fwd){.tokens = EACH * S,
                                                    .d = d,
                                                    .ids = b.ids,
                                                    .w = p->c.weights.ends(p->c.weights.self)->embedding,
                                                    .y = sy_mat_of(in, p->s->exec.dtype, d)});
            expect_ok(sy_stage_fwd(stage, mb, &b, SY_PASS_EVAL, sy_mat_of(in, p->s->exec.dtype, d),
                                   sy_mat_of(out, p->s->exec.dtype, d)));
            assert_memory_equal(out, rows_of(p, r.out, mb).data, bytes);
            free(in);
            free(out);
        }
        sy_stage_destroy(stage);
        sy_arena_fini(&arena);
    }
    free_outcome(&r);
    close_problem(p);
}

/* --- the head ------------------------------------------------------------------------------------------- */

struct head_case {
    struct problem *p;
    struct sy_head head;
    struct sy_mat x, dx;
    void *dx_memory;
};

static void take_head(void *self, struct sy_arena *a) {
    struct head_case *h = self;
    sy_head_take(&h->p->c, a, 1, &h->head);
}

static void chunks_change_no_bit(void **state) {
    (void)state;
    static const struct sy_head_sizes sizes[] = {{2 * S, 2 * S}, {S, S},         {S / 4, 2 * S},
                                                 {S / 2, S / 2}, {S / 8, S / 4}, {S / 4 - 1, S / 4}};
    struct problem *p = problem("micro_mla", "none", EACH * S, S / 4);
    assert_true(S / 4 % p->s->exec.kb == 0);
    int64_t d = p->config->model.dim;
    size_t bytes = (size_t)BATCH * S * row_bytes(p);
    struct head_case h = {.p = p};
    struct sy_arena arena = {0};
    expect_ok(sy_arena_build(p->s->exec.device, "a head", take_head, &h, &arena));
    assert_int_equal(h.head.size.chunk, 2 * S);
    assert_int_equal(h.head.size.piece, 2 * S);
    char *x = malloc(bytes), *first_dx = malloc(bytes), *dx = malloc(bytes);
    assert_true(x && first_dx && dx);
    p->s->exec.ops->embed_fwd(&p->s->exec,
                              &(struct sy_embed_fwd){.tokens = BATCH * S,
                                                     .d = d,
                                                     .ids = p->s->fed.ids,
                                                     .w = p->c.weights.ends(p->c.weights.self)->embedding,
                                                     .y = sy_mat_of(x, p->s->exec.dtype, d)});
    float *first = NULL;
    struct sy_tally tally = {0};
    int64_t n = 0;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        h.head.size = sizes[i];
        begin(p);
        memset(dx, 0x55, bytes);
        struct sy_grad_sink sink = sy_gradients_sink(p->gradients);
        for (int mb = 0; mb < MICRO_BATCHES; mb++) {
            struct sy_batch b = sy_feed_batch(p->s, mb * EACH, EACH);
            sy_head_loss(&p->c, &b, &h.head, rows_of(p, x, mb), &sink, rows_of(p, dx, mb));
            sink.flush(sink.self);
        }
        expect_ok(sy_exec_wait(&p->s->exec));
        float *gradients = roots(p, 0, &n);
        if (!first) {
            first = gradients;
            tally = *p->s->step.tally;
            memcpy(first_dx, dx, bytes);
            assert_true(tally.loss > 0);
            assert_false(is_zero(first, n));
            continue;
        }
        assert_memory_equal(gradients, first, (size_t)n * sizeof *first);
        assert_memory_equal(dx, first_dx, bytes);
        assert_memory_equal(&tally, p->s->step.tally, sizeof tally);
        free(gradients);
    }
    free(first);
    free(x);
    free(first_dx);
    free(dx);
    sy_arena_fini(&arena);
    close_problem(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(halves_equal_the_whole),
                                       cmocka_unit_test(forward_alone_is_not_split),
                                       cmocka_unit_test(chunks_change_no_bit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
