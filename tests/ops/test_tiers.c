/* The choice of a tier: the fastest table wins wherever it stands, equal ones may both, auto takes
 * one that no other tier leaves behind, and always the same; a tier that is not there is an error
 * that touches nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "ops/ops.h"

enum { N = 128, ATTEMPTS = 12 };

static int calls[4];

static void busy(double seconds) {
    for (double end = sy_clock() + seconds; sy_clock() < end;)
        continue;
}
#define FAKE(i, seconds)                                                                      \
    static void linear_##i(const struct sy_exec *x, const struct sy_linear *op) {             \
        assert_true(x->cls == SY_NUMERIC_X86 && op->rows.max_rows > 0 && op->y.data != NULL); \
        calls[i]++;                                                                           \
        busy(seconds);                                                                        \
    }                                                                                         \
    static const struct sy_ops table_##i = {.tier = #i, .linear = linear_##i, .attention_fwd = attention_##i};
static void attention_0(const struct sy_exec *x, const struct sy_attention *op) {
    assert_true(x->cls == SY_NUMERIC_X86 && op->seq_len > 0 && op->lse != NULL);
}
static void attention_3(const struct sy_exec *x, const struct sy_attention *op) {
    attention_0(x, op);
    busy(3e-3);
}
#define attention_1 attention_0
#define attention_2 attention_0
FAKE(0, 4e-3)
FAKE(1, 1e-3)
FAKE(2, 1.05e-3)
FAKE(3, 1e-3) /* its product is as fast as that of 1 */

static int fastest(const struct sy_ops *a, const struct sy_ops *b) {
    const struct sy_ops *two[] = {a, b};
    int best = -1;
    memset(calls, 0, sizeof calls);
    assert_int_equal(sy_ops_fastest(two, 2, SY_NUMERIC_X86, &best), SY_OK);
    return best;
}

static int equal_ones_go_on(void) {
    int best = fastest(&table_1, &table_2);
    return (best == 0 || best == 1) && calls[1] > 8 && calls[2] > 8;
}
static int slow_one_is_out(void) {
    return fastest(&table_0, &table_1) == 1 && calls[0] >= 1 && calls[0] <= 8;
}
static int attention_counts(void) { return fastest(&table_3, &table_1) == 1 && calls[3] <= 8; }
static int place_does_not_matter(void) { return fastest(&table_1, &table_0) == 0; }

/* On a machine that does something else an attempt may go wrong; a wrong rule fails them all. */
static void attempts(int (*holds)(void), const char *what) {
    for (int i = 0; i < ATTEMPTS; i++)
        if (holds())
            return;
    fail_msg("%s: never in %d attempts", what, ATTEMPTS);
}

static void fastest_wins(void **state) {
    (void)state;
    attempts(slow_one_is_out, "the slow one of two is left early");
    attempts(place_does_not_matter, "the fast one wins in the first place");
    attempts(attention_counts, "of equal products the one with the faster attention wins");
    attempts(equal_ones_go_on, "equal ones are measured to the end");
    const struct sy_ops *alone = &table_0;
    int best;
    memset(calls, 0, sizeof calls);
    assert_int_equal(sy_ops_fastest(&alone, 1, SY_NUMERIC_X86, &best), SY_OK);
    assert_true(best == 0 && calls[0] == 0);
}

static double shortest(const struct sy_ops *ops) {
    static uint16_t data[2 * N * N];
    static float out[N * N];
    struct sy_exec x = {.device = sy_device_cpu(), .ops = ops};
    sy_exec_set_class(&x, SY_NUMERIC_X86);
    struct sy_mat a = sy_mat_of(data, SY_BF16, N);
    double best = 1e30;
    x.scratch_bytes = sy_ops_scratch_bytes(N, 64, 64);
    x.scratch = aligned_alloc(64, x.scratch_bytes);
    assert_non_null(x.scratch);
    for (int i = 0; i < ATTEMPTS; i++) {
        double begin = sy_clock(), seconds;
        ops->linear(&x, &(struct sy_linear){.rows = sy_rows_dense(1, N),
                                            .k = N,
                                            .n = N,
                                            .x = a,
                                            .w = {.m = a},
                                            .y = sy_mat_of(out, SY_F32, N)});
        seconds = sy_clock() - begin;
        best = seconds < best ? seconds : best;
    }
    free(x.scratch);
    return best;
}

static void automatic(void **state) {
    (void)state;
    const struct sy_ops *chosen, *again;
    const char *why;
    assert_int_equal(sy_ops_select("auto", &chosen), SY_OK);
    double begin = sy_clock();
    assert_int_equal(sy_ops_select("auto", &again), SY_OK);
    assert_true(chosen == again && sy_clock() - begin < 1.0);
    for (int i = 0; i < sy_ops_n_tiers(); i++) {
        const struct sy_ops *ops = sy_ops_tier(i, &why);
        if (ops && shortest(chosen) > 1.6 * shortest(ops))
            fail_msg("auto took %s, and %s is faster by far", chosen->tier, ops->tier);
    }
}

static void by_name(void **state) {
    (void)state;
    const struct sy_ops *out;
    const char *why;
    for (int i = 0; i < sy_ops_n_tiers(); i++) {
        const struct sy_ops *ops = sy_ops_tier(i, &why);
        out = &table_0;
        assert_int_equal(sy_ops_select(sy_ops_tier_name(i), &out), ops ? SY_OK : SY_ERR_UNAVAILABLE);
        assert_true(out == (ops ? ops : &table_0));
    }
    out = &table_0;
    assert_int_equal(sy_ops_select("avx", &out), SY_ERR_USAGE);
    assert_true(out == &table_0 && strstr(sy_error_message(), "run.tier = avx: must be auto"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(fastest_wins), cmocka_unit_test(automatic),
                                       cmocka_unit_test(by_name)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
