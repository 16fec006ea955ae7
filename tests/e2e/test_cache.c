/* The law of a cache of keys and values (model/cache.h): logits after a context, of which only the new
 * tokens are computed, have the bits of a pass over all of it. For each attention and each numeric class,
 * with the context growing by one token, by several, going back to an earlier place, and beyond seq_len; of
 * several texts at once, whichever stand beside each other.
 */
#include <string.h>

#include "train/classes.h"
#include "train/context.h"

#include "../lib/session.h"

enum { SEQ = 144, MOST = SEQ + 6 }; /* beyond one block of 128 keys */

static struct sy_session *open_session(const char *(*more)[2], size_t n, const char *class) {
    const char *options[][2] = {
        {"training.seq_len", "144"}, {"numerics.class", class}, {"run.threads", "2"}, {"debug.seed", "7"}};
    struct sy_config *c = config_with(options, sizeof options / sizeof *options);
    set_options(c, more, n);
    return session_of(c, SY_SESSION_CACHE | SY_SESSION_INIT);
}

/* All of the context in one pass, as in training. */
static void whole_pass(struct sy_session *s, const int32_t *ids, int64_t n, float *out) {
    int32_t starts[SEQ] = {0}, positions[SEQ];
    int64_t used = n < SEQ ? n : SEQ;
    const float *logits; /* of the CPU's memory */
    for (int i = 0; i < SEQ; i++)
        positions[i] = i;
    struct sy_batch b = {.at = {0, 1, used},
                         .tokens = used,
                         .ids = ids + (n - used),
                         .doc_start = starts,
                         .position = positions};
    expect_ok(sy_model_logits(s->model, &b, used - 1, &logits));
    memcpy(out, logits, (size_t)s->config->model.vocab_size * sizeof *out);
}

struct pair {
    struct sy_session *whole, *kept;
    struct sy_context *context;
    int32_t ids[MOST];
    int64_t computed;
};

static void same_at(struct pair *p, const char *what, int64_t n, int64_t fresh) {
    static float expected[4096];
    const float *logits;
    int64_t vocab = p->whole->config->model.vocab_size;
    assert_true(vocab <= 4096);
    whole_pass(p->whole, p->ids, n, expected);
    expect_ok(sy_context_logits(p->context, 1, &(struct sy_context_text){0, p->ids, n}, &logits));
    for (int64_t i = 0; i < vocab; i++)
        if (memcmp(&logits[i], &expected[i], sizeof *logits) != 0)
            fail_msg("%s: %lld tokens, logit %lld is %a, should be %a", what, (long long)n, (long long)i,
                     (double)logits[i], (double)expected[i]);
    if (sy_context_computed(p->context) - p->computed != fresh)
        fail_msg("%s: %lld tokens: %lld were computed, should be %lld", what, (long long)n,
                 (long long)(sy_context_computed(p->context) - p->computed), (long long)fresh);
    p->computed = sy_context_computed(p->context);
}

static void obeys(const char *what, const char *(*options)[2], size_t n, const char *class) {
    struct pair p = {.whole = open_session(options, n, class), .kept = open_session(options, n, class)};
    char name[64];
    snprintf(name, sizeof name, "%s, class %s", what, class);
    expect_ok(sy_context_create(p.kept, &p.context));
    for (int i = 0; i < MOST; i++)
        p.ids[i] = (i * 37 + i * i % 11) % 251;
    int forced = p.kept->config->debug.moe_force_load_balance;
    same_at(&p, name, 1, 1);
    for (int i = 2; i < 6; i++)
        same_at(&p, name, i, forced ? i : 1);
    same_at(&p, name, 126, forced ? 126 : 121);
    for (int i = 127; i < 131; i++)
        same_at(&p, name, i, forced ? i : 1);
    same_at(&p, name, 40, forced ? 40 : 1); /* a context again: its last token gives the logits */
    p.ids[39] = 5;                          /* another sample of the 39 tokens before */
    same_at(&p, name, 43, forced ? 43 : 4);
    same_at(&p, name, SEQ, forced ? SEQ : SEQ - 43);
    same_at(&p, name, SEQ + 1, SEQ); /* the window moves: nothing is where it was */
    same_at(&p, name, MOST, SEQ);
    sy_context_destroy(p.context);
    close_session(p.whole);
    close_session(p.kept);
}

static void in_every_class(const char *what, const char *(*options)[2], size_t n) {
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        obeys(what, options, n, sy_class_name(cls));
}

static void mla(void **state) {
    (void)state;
    in_every_class("mla", (const char *[][2]){{"model.flavor", "micro_mla"}}, 1);
}

static void mla_queries(void **state) {
    (void)state;
    const char *options[][2] = {{"model.flavor", "micro_mla"}, {"model.q_lora_rank", "0"}};
    obeys("mla with plain queries", options, 2, "x86");
}

static void gqa(void **state) {
    (void)state;
    in_every_class("gqa", (const char *[][2]){{"model.flavor", "micro_gqa"}}, 1);
}

static void gqa_variants(void **state) {
    (void)state;
    static const char *const norms[] = {"none", "head", "full"};
    for (int i = 0; i < 3; i++) {
        const char *options[][2] = {
            {"model.flavor", "micro_gqa"}, {"model.qk_norm", norms[i]}, {"model.window", i ? "33" : "0"}};
        obeys(norms[i], options, 3, "x86");
    }
}

static void tiers(void **state) {
    (void)state;
    for (int i = 0; i < sy_ops_n_tiers(); i++) {
        const char *options[][2] = {{"model.flavor", "micro_mla"}, {"run.tier", sy_ops_tier_name(i)}}, *why;
        if (sy_ops_tier(i, &why))
            obeys(sy_ops_tier_name(i), options, 2, "x86");
    }
}

/* --- several texts ------------------------------------------------------------------------------------- */

enum { TEXTS = 4 };

struct together {
    struct sy_session *whole, *kept;
    struct sy_context *context;
    struct sy_context_text text[TEXTS];
    int32_t ids[TEXTS][MOST];
};

static void open_together(struct together *t, const char *(*more)[2], size_t n, const char *class) {
    const char *options[][2] = {{"training.seq_len", "144"},
                                {"training.local_batch_size", "1"},
                                {"numerics.class", class},
                                {"run.threads", "2"},
                                {"debug.seed", "7"}};
    struct sy_config *c = config_with(options, sizeof options / sizeof *options);
    set_options(c, more, n);
    t->whole = open_session(more, n, class);
    expect_ok(sy_config_finish(c, false));
    expect_ok(sy_session_create_cache(c, t->whole->log, (struct sy_cache_size){TEXTS, SEQ}, SY_SESSION_INIT,
                                      &t->kept));
    expect_ok(sy_context_create(t->kept, &t->context));
    for (int i = 0; i < TEXTS; i++) {
        t->text[i] = (struct sy_context_text){TEXTS - 1 - i, t->ids[i], 0};
        for (int k = 0; k < MOST; k++)
            t->ids[i][k] = (k * (31 + i) + k * k % 13 + i) % 251;
    }
}

static void close_together(struct together *t) {
    sy_context_destroy(t->context);
    close_session(t->whole);
    close_session(t->kept);
}

/* The first n texts, each with the logits of a pass over itself; in so many passes, of so many tokens. */
static void same_together(struct together *t, const char *what, int n, int64_t passes, int64_t tokens) {
    static float expected[4096];
    const float *logits[TEXTS];
    int64_t vocab = t->whole->config->model.vocab_size, before = sy_context_passes(t->context),
            computed = sy_context_computed(t->context);
    expect_ok(sy_context_logits(t->context, n, t->text, logits));
    for (int i = 0; i < n; i++) {
        whole_pass(t->whole, t->text[i].ids, t->text[i].n, expected);
        if (memcmp(logits[i], expected, (size_t)vocab * sizeof *expected) != 0)
            fail_msg("%s: text %d of %d, %lld tokens: its logits are not those of it alone", what, i, n,
                     (long long)t->text[i].n);
    }
    assert_int_equal(sy_context_passes(t->context) - before, passes);
    assert_int_equal(sy_context_computed(t->context) - computed, tokens);
}

static void lengths(struct together *t, int64_t a, int64_t b, int64_t c, int64_t d) {
    const int64_t n[TEXTS] = {a, b, c, d};
    for (int i = 0; i < TEXTS; i++)
        t->text[i].n = n[i];
}

/* Texts that begin together, go on together, end, make room for others, and go beyond seq_len. */
static void go_on_together(const char *what, const char *(*options)[2], size_t n, const char *class) {
    struct together t;
    open_together(&t, options, n, class);
    lengths(&t, 3, 1, 40, 90);
    same_together(&t, what, 4, 1, 134);
    for (int i = 1; i < 4; i++) {
        lengths(&t, 3 + i, 1 + i, 40 + i, 90 + i);
        same_together(&t, what, 4, 1, 4);
    }
    lengths(&t, 130, 5, 0, 0); /* some have to wait */
    same_together(&t, what, 2, 1, 125);
    lengths(&t, 131, 90, 44, 94);
    same_together(&t, what, 4, 1, 88);
    t.ids[2][7] = 250; /* another text in its slot */
    lengths(&t, 132, 91, 60, 95);
    same_together(&t, what, 4, 1, 56);
    lengths(&t, SEQ + 1, 92, SEQ, 96); /* more than a pass has room for */
    same_together(&t, what, 4, 2, SEQ + 1 + SEQ - 60 + 1);
    close_together(&t);
}

/* What texts have in common is computed once: in the first of them, then copied to the others. */
static void common_beginnings(void **state) {
    (void)state;
    static const char *const flavors[] = {"micro_mla", "micro_gqa"};
    for (int k = 0; k < 2; k++) {
        const char *options[][2] = {{"model.flavor", flavors[k]}};
        struct together t;
        open_together(&t, options, 1, "x86");
        for (int i = 1; i < TEXTS; i++)
            memcpy(t.ids[i], t.ids[0], sizeof t.ids[0]);
        t.ids[3][20] = 250;
        lengths(&t, 50, 50, 50, 50);
        same_together(&t, flavors[k], 4, 2, 50 + 1 + 1 + 30);
        for (int i = 0; i < TEXTS; i++) /* each goes its way */
            t.ids[i][50] = 10 + i;
        lengths(&t, 51, 51, 51, 51);
        same_together(&t, flavors[k], 4, 1, 4);
        close_together(&t);
    }
}

static void texts_together(void **state) {
    (void)state;
    const char *gqa[][2] = {{"model.flavor", "micro_gqa"}, {"model.window", "33"}};
    const char *mla[][2] = {{"model.flavor", "micro_mla"}};
    for (int cls = 0; cls < SY_N_CLASSES; cls++) {
        go_on_together("mla", mla, 1, sy_class_name(cls));
        go_on_together("gqa", gqa, 1 + cls % 2, sy_class_name(cls));
    }
    for (int i = 0; i < sy_ops_n_tiers(); i++) {
        const char *options[][2] = {{"model.flavor", "micro_mla"}, {"run.tier", sy_ops_tier_name(i)}}, *why;
        if (sy_ops_tier(i, &why))
            go_on_together(sy_ops_tier_name(i), options, 2, "x86");
    }
}

/* Forced routes go by a token's place in its batch: each text is a batch. */
static void forced_together(void **state) {
    (void)state;
    const char *options[][2] = {{"model.flavor", "micro_gqa"}, {"debug.moe_force_load_balance", "true"}};
    struct together t;
    open_together(&t, options, 2, "x86");
    lengths(&t, 3, 1, 40, 90);
    same_together(&t, "forced routes", 4, 4, 134);
    close_together(&t);
}

/* Routes that go by a token's place in its batch: nothing is kept. */
static void forced_routes(void **state) {
    (void)state;
    const char *options[][2] = {{"model.flavor", "micro_gqa"}, {"debug.moe_force_load_balance", "true"}};
    obeys("forced routes", options, 2, "x86");
}

/* That the comparison sees a token far back. */
static void an_early_token_counts(void **state) {
    (void)state;
    const char *options[][2] = {{"model.flavor", "micro_gqa"}};
    struct sy_session *s = open_session(options, 1, "x86");
    int32_t ids[SEQ] = {1, 2, 3};
    static float a[4096], b[4096];
    whole_pass(s, ids, SEQ, a);
    ids[3] = 9;
    whole_pass(s, ids, SEQ, b);
    assert_memory_not_equal(a, b, (size_t)s->config->model.vocab_size * sizeof *a);
    close_session(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mla),
        cmocka_unit_test(mla_queries),
        cmocka_unit_test(gqa),
        cmocka_unit_test(gqa_variants),
        cmocka_unit_test(tiers),
        cmocka_unit_test(forced_routes),
        cmocka_unit_test(texts_together),
        cmocka_unit_test(common_beginnings),
        cmocka_unit_test(forced_together),
        cmocka_unit_test(an_early_token_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
