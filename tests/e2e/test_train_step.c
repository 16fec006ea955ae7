/* What a step promises: it allocates nothing after the first, leaves the weights alone when something is not
 * finite, counts routes once, and recompute that differs is named.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../lib/session.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

/* --- every allocation of the process is counted --------------------------------------------------------- */

#if defined(__GLIBC__) && !defined(SANITIZED)
static long n_allocations;
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);
void *malloc(size_t n) {
    __atomic_add_fetch(&n_allocations, 1, __ATOMIC_RELAXED);
    return __libc_malloc(n);
}
void *calloc(size_t n, size_t size) {
    __atomic_add_fetch(&n_allocations, 1, __ATOMIC_RELAXED);
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n) {
    __atomic_add_fetch(&n_allocations, 1, __ATOMIC_RELAXED);
    return __libc_realloc(p, n);
}
void *aligned_alloc(size_t align, size_t n) {
    __atomic_add_fetch(&n_allocations, 1, __ATOMIC_RELAXED);
    return __libc_memalign(align, n);
}
#define COUNTED 1
#endif

static struct sy_step_result step(struct sy_session *s, int64_t i) {
    struct sy_step_result r;
    if (sy_session_step(s, i, &r) != SY_OK)
        fail_msg("%s", sy_error_message());
    return r;
}

static float *first_of(struct sy_session *s, const char *name) {
    for (int i = 0; i < s->params->n_tensors; i++)
        if (strcmp(s->params->tensor[i].name, name) == 0)
            return s->state.of[SY_STATE_W][i];
    fail_msg("no tensor %s", name);
    return NULL;
}

static void allocates_nothing(void **state) {
    (void)state;
#ifdef COUNTED
    const char *cut[][2] = {
        {"numerics.lanes", "4"}, {"numerics.cell", "2"}, {"training.local_batch_size", "3"}};
    for (int variant = 0; variant < 2; variant++) {
        struct sy_session *s = prose_session(variant ? "micro_gqa" : "micro_mla", cut, variant ? 3 : 0);
        step(s, 0);
        long before = n_allocations;
        for (int64_t i = 1; i < 5; i++)
            step(s, i);
        assert_int_equal(n_allocations - before, 0);
        char *probe = malloc(1); /* the counter counts */
        assert_non_null(probe);
        assert_true(n_allocations > before);
        free(probe);
        close_session(s);
    }
#else
    skip();
#endif
}

/* A poisoned weight: the step says what is wrong, and every weight stays as it was. */
static void poisoned(const char *name, int64_t at, float value, const char *why) {
    const char *losses[][2] = {{"moe.z_loss_coeff", "0.001"}, {"moe.seq_aux_loss_coeff", "0.01"}};
    struct sy_session *s = prose_session("micro_mla", losses, 2);
    step(s, 0);
    first_of(s, name)[at] = value;
    assert_int_equal(sy_session_weights_changed(s), SY_OK);
    char before[SY_DIGEST_CHARS];
    assert_int_equal(sy_session_digest(s, before), SY_OK);
    struct sy_step_result r = step(s, 1);
    if (r.applied)
        fail_msg("%s poisoned with %g: the step was applied", name, value);
    assert_int_equal(s->applied, 1);
    assert_string_equal(r.digest, before);
    assert_true(isfinite(r.balance_loss) && isfinite(r.z_loss) ? r.n_bad_router == 0 : r.n_bad_router > 0);
    if (!strstr(r.why, why))
        fail_msg("%s poisoned with %g: says '%s', not '%s'", name, value, r.why, why);
    close_session(s);
}

static void not_finite(void **state) {
    (void)state;
    poisoned("lm_head.weight", 0, NAN, "losses are not finite");
    poisoned("lm_head.weight", 0, INFINITY, "losses are not finite");
    poisoned("model.embed_tokens.weight", 'e' * 32, NAN, "NaN logit");
    poisoned("model.layers.0.mlp.down_proj.weight", 0, NAN, "NaN logit");
    poisoned("model.layers.1.self_attn.kv_b_proj.weight", 0, INFINITY, "NaN logit");
    poisoned("model.layers.1.mlp.gate.weight", 0, NAN, "layer 1: router");
    poisoned("model.layers.1.mlp.gate.weight", 0, INFINITY,
             "router losses of 16 sequences are not finite, summed over layers");
}

/* A non-finite gradient element is counted, and the norm says so. */
static void bad_gradient(void **state) {
    (void)state;
    struct sy_session *s = prose_session("micro_gqa", NULL, 0);
    step(s, 0);
    struct sy_tally *tally = s->step.tally;
    const struct sy_update_memory m = {s->step.scalars, tally, s->step.verdict};
    for (int planted = 0; planted < 2; planted++) {
        if (planted) {
            sy_gradients_root(s->gradients, s->params->head)[17] = INFINITY;
            sy_gradients_root(s->gradients, s->params->layer[1].first_expert)[3] = NAN;
        }
        *tally = sy_tally_empty;
        sy_update_norm(s->update, s->reduce, tally);
        assert_int_equal(tally->n_bad_gradient, 2 * planted);
        char before[SY_DIGEST_CHARS], after[SY_DIGEST_CHARS];
        assert_int_equal(sy_session_digest(s, before), SY_OK);
        sy_update_apply(s->update, s->reduce, &m);
        assert_true(isfinite(m.verdict->norm) == !planted && m.verdict->apply == !planted);
        assert_int_equal(sy_session_digest(s, after), SY_OK);
        assert_true((strcmp(before, after) == 0) == planted);
    }
    close_session(s);
}

/* A step without a label is damage, by its number, and leaves all as it was; one label is enough. */
static void without_a_label(void **state) {
    (void)state;
    struct sy_session *s = prose_session("micro_gqa", NULL, 0);
    struct sy_step_result r;
    char before[SY_DIGEST_CHARS], after[SY_DIGEST_CHARS];
    step(s, 0);
    int64_t n = s->config->training.global_batch_size * s->config->training.seq_len;
    for (int64_t i = 0; i < n; i++)
        s->feed.labels[i] = SY_LABEL_NONE;
    expect_ok(sy_session_digest(s, before));
    assert_int_equal(sy_session_step_filled(s, 6, &r), SY_ERR_DATA);
    assert_string_equal(sy_error_message(),
                        "step 7 has no valid label: every token of its 16 sequences ends a document");
    expect_ok(sy_session_digest(s, after));
    assert_string_equal(before, after);
    s->feed.labels[n - 1] = 5;
    expect_ok(sy_session_step_filled(s, 6, &r));
    assert_true(r.applied && r.n_valid == 1 && r.loss > 0);
    close_session(s);
}

/* The lowest (sequence of the batch, token) with a NaN logit, and its first layer: the same whatever the
 * layout. Within its block of keys a NaN reaches the tokens before it too, as 0 NaN in a chain is NaN: the
 * first of its sequence is named. */
static void the_first_bad_token(void **state) {
    (void)state;
    static const char *const layouts[][4] = {
        {"16", "1", "8", "1"}, {"3", "2", "8", "1"}, {"5", "3", "2", "2"}, {"1", "1", "1", "1"}};
    for (int token = 0; token < 2; token++)
        for (int i = 0; i < 4; i++) {
            const char *keys[][2] = {{"training.local_batch_size", layouts[i][0]},
                                     {"run.threads", layouts[i][1]},
                                     {"numerics.lanes", layouts[i][2]},
                                     {"numerics.cell", layouts[i][3]}};
            struct sy_session *s = prose_session("micro_gqa", keys, 4);
            int64_t at[2] = {5 * 32 + 9,
                             11 * 32 + 3}; /* two tokens that no other has, by sequence and position */
            for (int64_t k = 0; k < 16; k++)
                for (int64_t t = 0; t < 32; t++) {
                    int64_t n = sy_walk_sequence(&s->walk, k) * 32 + t;
                    s->feed.ids[k * 32 + t] = (int32_t)(n == at[0] ? 200 : n == at[1] ? 201 : n % 100);
                    s->feed.labels[k * 32 + t] = (int32_t)((n + 1) % 100);
                    s->feed.doc_start[k * 32 + t] = 0;
                    s->feed.sequence[k] = (int32_t)sy_walk_sequence(&s->walk, k);
                }
            first_of(s, "model.embed_tokens.weight")[201 * 32] = NAN;
            if (token)
                first_of(s, "model.embed_tokens.weight")[200 * 32] = NAN;
            assert_int_equal(sy_session_weights_changed(s), SY_OK);
            struct sy_step_result r;
            assert_int_equal(sy_session_step_filled(s, 0, &r), SY_OK);
            assert_int_equal(r.applied, 0);
            assert_string_equal(
                r.why, token ? "layer 0: router: token 0 of sequence 5 of the batch has a NaN logit"
                             : "layer 0: router: token 0 of sequence 11 of the batch has a NaN logit");
            close_session(s);
        }
}

/* Routes are counted once a token, whatever is recomputed, and not in evaluation. */
static void counted_once(void **state) {
    (void)state;
    static const char *const modes[] = {"none", "full", "selective"};
    for (int m = 0; m < 3; m++) {
        const char *keys[][2] = {{"activation_checkpoint.mode", modes[m]},
                                 {"activation_checkpoint.selective_ac_option", "1"}};
        struct sy_session *s = prose_session("micro_gqa", keys, 2);
        step(s, 0);
        int64_t sum = 0, n;
        double loss;
        for (int i = 0; i < 2 * 8; i++)
            sum += s->seen.counts[i];
        assert_int_equal(sum, 2 * 16 * 32 * 2); /* layers x tokens x top_k */
        assert_int_equal(sy_session_eval(s, -1, &loss, &n), SY_OK);
        for (int i = 0; i < 2 * 8; i++)
            sum -= s->seen.counts[i];
        assert_int_equal(sum, 0);
        assert_true(n > 0 && loss > 0);
        close_session(s);
    }
}

/* Evaluation between steps changes nothing. */
static void evaluation_is_silent(void **state) {
    (void)state;
    struct sy_session *a = prose_session("micro_mla", NULL, 0), *b = prose_session("micro_mla", NULL, 0);
    for (int64_t i = 0; i < 3; i++) {
        double loss;
        int64_t n;
        struct sy_step_result x = step(a, i), y = step(b, i);
        assert_int_equal(sy_session_eval(a, 2, &loss, &n), SY_OK);
        assert_string_equal(x.digest, y.digest);
    }
    close_session(a);
    close_session(b);
}

/* Forced balance: every expert gets the same number of routes in every sequence. */
static void forced_balance(void **state) {
    (void)state;
    const char *keys[][2] = {{"debug.moe_force_load_balance", "true"}};
    struct sy_session *s = prose_session("micro_mla", keys, 1);
    step(s, 0);
    for (int e = 0; e < 8; e++)
        assert_int_equal(s->seen.counts[8 + e], 16 * 32 * 2 / 8);
    close_session(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocates_nothing), cmocka_unit_test(not_finite),
        cmocka_unit_test(bad_gradient),      cmocka_unit_test(the_first_bad_token),
        cmocka_unit_test(counted_once),      cmocka_unit_test(evaluation_is_silent),
        cmocka_unit_test(forced_balance),    cmocka_unit_test(without_a_label)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
