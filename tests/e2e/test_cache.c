/* The law of a cache of keys and values (model/cache.h): logits after a context, of which only the new tokens
 * are computed, have the bits of a pass over all of it. For each attention and each numeric class, with the
 * context growing by one token, by several, going back to an earlier place, and beyond seq_len.
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
    expect_ok(sy_context_logits(p->context, p->ids, n, &logits));
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
        cmocka_unit_test(an_early_token_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
