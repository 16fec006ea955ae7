/* The instrument of `bench model`: every op of the list and every call of the sink is forwarded
 * once, with what it was given, and counted once; a step that is watched has the digest of one that
 * is not; every moment and run of the pool is charged; forward, recompute and backward are told
 * apart.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"

#include "../lib/session.h"

/* --- forwarding ---------------------------------------------------------------------------- */

static struct {
    int op, n;
    const struct sy_exec *x;
    const void *arg;
} last;

static void note(int op, const struct sy_exec *x, const void *arg) {
    last.op = op;
    last.n++;
    last.x = x;
    last.arg = arg;
}

#define X(name, type) \
    static void fake_##name(const struct sy_exec *x, const struct type *op) { note(SY_OP_##name, x, op); }
SY_OPS_LIST(X)
#undef X
static const struct sy_ops fakes = {.tier = "fake",
#define X(name, type) .name = fake_##name,
                                    SY_OPS_LIST(X)
#undef X
};

/* A real model, so that weights lie somewhere. */
static struct sy_session *session;

static int open_model(void **state) {
    (void)state;
    const char *options[][2] = {{"model.flavor", "micro_gqa"}, {"run.threads", "2"}};
    session = session_of(config_with(options, 2), SY_SESSION_TRAIN);
    return 0;
}

static int close_model(void **state) {
    (void)state;
    close_session(session);
    return 0;
}

static void *stored(int param) {
    for (int i = 0; i < session->params->n_tensors; i++)
        if (session->params->tensor[i].param == param && session->params->tensor[i].first_row == 0)
            return session->weights.keeper.of(session->weights.keeper.self, i).at;
    fail_msg("parameter %d has no tensor", param);
    return NULL;
}

static struct sy_profile watch(struct sy_exec *x) {
    struct sy_profile p;
    *x = (struct sy_exec){.ops = &fakes};
    sy_profile_init(&p, x, &session->state, &session->weights.keeper);
    last.n = 0;
    return p;
}

static void check_forwarded(const struct sy_profile *p, const struct sy_exec *x, int op, const void *arg,
                            int n) {
    const char *name = sy_profile_op_name(op);
    if (last.op != op || last.n != n || last.x != x || last.arg != arg)
        fail_msg("%s was not forwarded as it was called: %s came, %d calls", name,
                 sy_profile_op_name(last.op), last.n);
    if (p->op[op].calls != 1)
        fail_msg("%s: %d calls counted", name, (int)p->op[op].calls);
    if (sy_profile_part_of(op) == SY_PART_other)
        fail_msg("%s has no part in train/profile.c", name);
}

static int64_t calls_of_parts(const struct sy_profile *p) {
    int64_t n = 0;
    for (int c = 0; c < SY_N_COLUMNS; c++)
        for (int i = 0; i < SY_N_PARTS; i++)
            n += p->part[c][i].calls;
    return n;
}

static void every_op(void **state) {
    (void)state;
    struct sy_exec x;
    struct sy_profile p = watch(&x);
    int n = 0;
    x.ops = &p.ops;
#define X(name, type)                                    \
    {                                                    \
        struct type op = {0};                            \
        x.ops->name(&x, &op);                            \
        check_forwarded(&p, &x, SY_OP_##name, &op, ++n); \
    }
    SY_OPS_LIST(X)
#undef X
    assert_int_equal(n, SY_N_OPS);
    assert_int_equal(calls_of_parts(&p), n);
}

static void product(struct sy_exec *x, int param, int64_t at, int back) {
    struct sy_operand w = {.m = sy_mat_of((char *)stored(param) + at, x->dtype, 8)};
    if (back)
        x->ops->linear_dx(x, &(struct sy_linear_dx){.map = {{.w = w}}});
    else
        x->ops->linear(x, &(struct sy_linear){.w = w});
}

/* A product is of the part that its weight is of. */
static void products(void **state) {
    (void)state;
    struct sy_exec x;
    struct sy_profile p = watch(&x);
    const struct sy_layer_params *l = &session->params->layer[1];
    const struct sy_param *wq = &session->params->param[l->wq];
    x.ops = &p.ops;
    product(&x, l->wq, 0, 0);
    product(&x, l->wq, wq->rows * wq->cols * 2 - 2, 0); /* its last element */
    product(&x, l->gate, 0, 0);
    product(&x, l->first_expert + 3, 0, 0);
    product(&x, session->params->head, 0, 0);
    x.ops->cross_entropy(&x, &(struct sy_cross_entropy){0});
    product(&x, session->params->head, 0, 1);
    assert_int_equal(p.part[SY_FORWARD][SY_PART_products].calls, 2);
    assert_int_equal(p.part[SY_FORWARD][SY_PART_router].calls, 1);
    assert_int_equal(p.part[SY_FORWARD][SY_PART_experts].calls, 1);
    assert_int_equal(p.part[SY_FORWARD][SY_PART_head].calls, 2);
    assert_int_equal(p.part[SY_BACKWARD][SY_PART_head].calls, 1);
    assert_int_equal(last.n, 7);
}

struct called {
    int matrix, piece, experts, vector, embedding, flush, param;
    const struct sy_exec *x;
};
static float numbers[16];
static const struct sy_span span = {3, 5, 7};
static void use_op(const struct called *c) { c->x->ops->add_f32(c->x, &(struct sy_add_f32){0}); }
static void to_matrix(void *self, const struct sy_span *at, int q, struct sy_mat dy, struct sy_mat x) {
    struct called *c = self;
    assert_true(at == &span && dy.row == 8 && x.row == 9);
    c->matrix++;
    c->param = q;
}
static void to_piece(void *self, const struct sy_sink_piece *q) {
    struct called *c = self;
    assert_true(q->place == 2 && q->seq_len == 64 && q->from == 16 && q->n == 32 && q->dy.row == 8 &&
                q->x.row == 9);
    c->piece++;
    c->param = q->param;
    use_op(c);
}
static void to_experts(void *self, const struct sy_span *at, const struct sy_sink_experts *e) {
    struct called *c = self;
    assert_true(at == &span && e->layer == 1);
    c->experts++;
    use_op(c);
}
static void to_vector(void *self, const struct sy_span *at, const struct sy_sink_vector *v) {
    struct called *c = self;
    assert_true(at == &span && v->heads == 2 && v->a.head == 1 && v->x.head == 4 && v->r == numbers);
    c->vector++;
    c->param = v->param;
    use_op(c);
}
static void to_embedding(void *self, const struct sy_span *at, const int32_t *ids, struct sy_mat dy) {
    struct called *c = self;
    assert_true(at == &span && ids == NULL && dy.row == 8);
    c->embedding++;
    use_op(c);
}
static void to_flush(void *self) {
    struct called *c = self;
    c->flush++;
    use_op(c);
}

static void sink(void **state) {
    (void)state;
    struct sy_exec x;
    struct sy_profile p = watch(&x);
    int norm = session->params->layer[1].attn_norm, wq = session->params->layer[1].wq,
        head = session->params->head;
    x.ops = &p.ops;
    struct called c = {.x = &x};
    struct sy_grad_sink real = {&c, to_matrix, to_piece, to_experts, to_vector, to_embedding, to_flush};
    struct sy_grad_sink s = sy_profile_sink(&p, real), off = sy_profile_sink(NULL, real);
    assert_memory_equal(&off, &real, sizeof real);
    struct sy_mat m8 = sy_mat_of(numbers, SY_F32, 8), m9 = sy_mat_of(numbers, SY_F32, 9);
    s.matrix(s.self, &span, wq, m8, m9);
    assert_true(c.matrix == 1 && c.param == wq && p.part[SY_SUMS][SY_PART_w_matrices].calls == 0);
    s.flush(s.self); /* what was handed over is used here, and is of a layer */
    assert_true(c.flush == 1 && p.part[SY_SUMS][SY_PART_w_matrices].calls == 1);
    s.matrix(s.self, &span, head, m8, m9);
    s.flush(s.self);
    assert_true(c.matrix == 2 && c.param == head && p.part[SY_SUMS][SY_PART_w_head].calls == 1);
    s.piece(s.self, &(struct sy_sink_piece){2, 64, 16, 32, head, m8, m9});
    assert_true(c.piece == 1 && p.part[SY_SUMS][SY_PART_w_head].calls == 2);
    s.experts(s.self, &span, &(struct sy_sink_experts){.layer = 1});
    assert_true(c.experts == 1 && p.part[SY_SUMS][SY_PART_w_experts].calls == 1);
    s.vector(s.self, &span,
             &(struct sy_sink_vector){norm, 2, sy_heads_of(m8, 0, 1), sy_heads_of(m8, 0, 4), numbers});
    assert_true(c.vector == 1 && c.param == norm && p.part[SY_SUMS][SY_PART_w_vectors].calls == 1);
    s.embedding(s.self, &span, NULL, m8);
    assert_true(c.embedding == 1 && p.part[SY_SUMS][SY_PART_w_embedding].calls == 1);
    assert_int_equal(p.layers.calls, 3); /* head and embedding are of no layer */
    assert_int_equal(calls_of_parts(&p), 6);
}

/* --- steps --------------------------------------------------------------------------------- */

enum { STEPS = 2 };

/* Digest after STEPS steps; p NULL: not watched. Else p is that of the last step. */
static void steps(const char *flavor, const char *recompute, struct sy_profile *p,
                  char digest[SY_DIGEST_CHARS]) {
    const char *options[][2] = {
        {"model.flavor", flavor}, {"activation_checkpoint.mode", recompute}, {"run.threads", "2"}};
    struct sy_config *c = config_with(options, 3);
    struct sy_session *s = session_of(c, SY_SESSION_TRAIN | SY_SESSION_INIT);
    struct sy_step_result r;
    if (p) {
        sy_profile_init(p, &s->exec, &s->state, &s->weights.keeper);
        s->exec.ops = &p->ops;
        s->profile = p;
    }
    int64_t n = c->training.global_batch_size * c->training.seq_len;
    for (int64_t step = 0; step < STEPS; step++) {
        for (int64_t t = 0; t < n; t++) {
            s->feed.ids[t] = (int32_t)((step * n + t) * 37 % c->model.vocab_size);
            s->feed.labels[t] = (int32_t)((step * n + t + 1) * 37 % c->model.vocab_size);
            s->feed.doc_start[t] = 0;
        }
        int64_t runs = sy_pool_runs(s->pool);
        double begin = sy_clock(), charged = 0;
        if (p)
            sy_profile_begin(p);
        if (sy_session_step_filled(s, step, &r) != SY_OK || !r.applied)
            fail_msg("step %d: %s %s", (int)step, sy_error_message(), r.why);
        if (!p)
            continue;
        sy_profile_end(p);
        double seconds = sy_clock() - begin;
        for (int i = 0; i < SY_N_COLUMNS * SY_N_PARTS; i++) {
            charged += p->part[i / SY_N_PARTS][i % SY_N_PARTS].seconds;
            runs += p->part[i / SY_N_PARTS][i % SY_N_PARTS].runs;
        }
        assert_true(charged > 0 && charged <= seconds && p->since - begin >= charged * (1 - 1e-9));
        assert_int_equal(runs, sy_pool_runs(s->pool));
    }
    memcpy(digest, r.digest, SY_DIGEST_CHARS);
    sy_session_destroy(s);
    sy_config_destroy(c);
}

static int64_t pass_calls(const struct sy_profile *p, int column) {
    int64_t n = 0;
    for (int i = 0; i < SY_PART_w_matrices; i++)
        n += p->part[column][i].calls;
    return n;
}

static void model(const char *flavor) {
    char plain[SY_DIGEST_CHARS], watched[SY_DIGEST_CHARS];
    struct sy_profile none, selective, full;
    steps(flavor, "none", NULL, plain);
    steps(flavor, "none", &none, watched);
    assert_string_equal(plain, watched);
    steps(flavor, "selective", &selective, watched);
    assert_string_equal(plain, watched);
    steps(flavor, "full", &full, watched);
    assert_string_equal(plain, watched);
    assert_int_equal(none.passes, 2); /* 8 sequences in batches of 4 */
    assert_int_equal(pass_calls(&none, SY_RECOMPUTE), 0);
    assert_true(pass_calls(&none, SY_FORWARD) > 0 && pass_calls(&none, SY_BACKWARD) > 0);
    /* Recompute adds calls, and all that it adds is its own, but for two copies of each router's choice
     * and batch. */
    int64_t copies = selective.op[SY_OP_copy].calls - none.op[SY_OP_copy].calls;
    assert_int_equal(copies % (2 * none.passes), 0);
    assert_true(copies > 0);
    for (int i = 0; i < SY_N_PARTS; i++)
        for (int c = 0; c < SY_N_COLUMNS; c++)
            if (c != SY_RECOMPUTE || i >= SY_PART_w_matrices) {
                int64_t more = c == SY_FORWARD && i == SY_PART_router ? copies : 0;
                assert_int_equal(none.part[c][i].calls + more, selective.part[c][i].calls);
                assert_int_equal(none.part[c][i].calls + more, full.part[c][i].calls);
            }
    const struct sy_profile_tally *forward = full.part[SY_FORWARD], *again = full.part[SY_RECOMPUTE];
    assert_int_equal(again[SY_PART_attention].calls, forward[SY_PART_attention].calls);
    assert_int_equal(again[SY_PART_products].calls, forward[SY_PART_products].calls);
    assert_int_equal(selective.part[SY_RECOMPUTE][SY_PART_attention].calls, 0);
    assert_true(pass_calls(&selective, SY_RECOMPUTE) < pass_calls(&full, SY_RECOMPUTE));
    assert_int_equal(calls_of_parts(&full), calls_of_parts(&none) + pass_calls(&full, SY_RECOMPUTE) + copies);
    assert_int_equal(full.layers.calls - none.layers.calls, pass_calls(&full, SY_RECOMPUTE) + copies);
}

static void micro_mla(void **state) {
    (void)state;
    model("micro_mla");
}
static void micro_gqa(void **state) {
    (void)state;
    model("micro_gqa");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_op), cmocka_unit_test(products),
                                       cmocka_unit_test(sink), cmocka_unit_test(micro_mla),
                                       cmocka_unit_test(micro_gqa)};
    return cmocka_run_group_tests(tests, open_model, close_model);
}
