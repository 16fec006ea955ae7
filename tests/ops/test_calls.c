/* Every op of the list by every tier, class and number of threads: the same made-up calls (ops/calls.h),
 * each compared with the reference on one thread, word by word. The same on a device that is closed between
 * ops, with segments of 16 rows. What ops do is defined in the other tests of this folder; a new tier needs
 * none of its own, a new op its generator alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "made_calls.h"
#include "only.h"
#include "ops/wrapped.h"
#include "../lib/by_name.h"

enum { EDGES = 18, EDGES_GUARDED = 6, THREADS = 3, TIERS = 8 };

/* --- where calls run ------------------------------------------------------------------------------------ */

static int differs(const struct sy_exec *x, const struct sy_call *want, int op, enum sy_call_size size,
                   uint64_t seed, char *text, size_t bytes) {
    struct sy_call *c = done(x, op, size, seed);
    int found = sy_call_differs(c, want, text, bytes);
    sy_call_destroy(c);
    return found;
}

static void equal(const struct sy_exec *x, const struct sy_call *want, int op, enum sy_call_size size,
                  uint64_t seed) {
    char text[200];
    if (differs(x, want, op, size, seed, text, sizeof text))
        fail_msg("%s (the reference): tier %s on device %s, class %s, %d threads, %s call %llu", text,
                 x->ops->tier, x->device->name, sy_class_name(x->cls), sy_pool_size(x->pool),
                 size == SY_CALL_EDGE ? "edge" : "typical", (unsigned long long)seed);
}

/* --- tiers ---------------------------------------------------------------------------------------------- */

/* The reference once; then each tier on 1, 2 or 3 threads in turn, so that it meets every kind of call on
 * each. */
static void compare_tiers(const struct sy_exec *ref, struct sy_exec x[][THREADS], int op,
                          enum sy_call_size size, uint64_t seed) {
    struct sy_call *want = done(ref, op, size, seed);
    for (int tier = 0; tier < sy_ops_n_tiers(); tier++) {
        const struct sy_exec *one = &x[tier][(seed / 6 + (uint64_t)(tier + op)) % THREADS];
        if (one->ops)
            equal(one, want, op, size, seed);
    }
    sy_call_destroy(want);
}

static void tiers(enum sy_numeric_class cls) {
    const char *why;
    if (!is_of_run(-1, (int)cls))
        skip();
    struct sy_exec x[TIERS][THREADS] = {0}, ref = exec_open(sy_ops_tier(0, &why), sy_device_cpu(), cls, 1);
    assert_true(sy_ops_n_tiers() <= TIERS);
    for (int tier = 0; tier < sy_ops_n_tiers(); tier++) {
        const struct sy_ops *ops = is_of_run(tier, -1) ? sy_ops_tier(tier, &why) : NULL;
        if (!ops && is_of_run(tier, -1))
            print_message("tier %s is skipped: %s\n", sy_ops_tier_name(tier), why);
        for (int i = 0; ops && i < THREADS; i++)
            x[tier][i] = exec_open(ops, sy_device_cpu(), cls, i + 1);
    }
    for (int op = 0; op < sy_calls_n_ops(); op++) {
        for (uint64_t seed = 0; seed < EDGES; seed++)
            compare_tiers(&ref, x, op, SY_CALL_EDGE, seed);
        compare_tiers(&ref, x, op, SY_CALL_TYPICAL, 1);
    }
    for (int tier = 0; tier < sy_ops_n_tiers(); tier++)
        for (int i = 0; i < THREADS && x[tier][i].ops; i++)
            exec_close(&x[tier][i]);
    exec_close(&ref);
}

static void every_tier_x86(void **state) {
    (void)state;
    tiers(SY_NUMERIC_X86);
}
static void every_tier_amx(void **state) {
    (void)state;
    tiers(SY_NUMERIC_AMX);
}
static void every_tier_sm90(void **state) {
    (void)state;
    tiers(SY_NUMERIC_SM90);
}
static void every_tier_fp32(void **state) {
    (void)state;
    tiers(SY_NUMERIC_FP32);
}

/* --- the closed device ---------------------------------------------------------------------------------- */

/* Against an open one with segments as long: an op or a generator that the host would have to help faults. */
static void closed_device(void **state) {
    (void)state;
    struct sy_device *guarded, open = *sy_device_cpu();
    struct sy_ops table;
    const char *why;
    if (sy_device_guarded_create(&guarded) != SY_OK)
        skip();
    open.segment = guarded->segment;
    assert_int_equal(open.segment, 16);
    for (int cls = 0; cls < SY_N_CLASSES; cls++) {
        if (!is_of_run(-1, cls))
            continue;
        struct sy_exec ref = exec_open(sy_ops_tier(0, &why), &open, (enum sy_numeric_class)cls, 1);
        for (int op = 0; op < sy_calls_n_ops(); op++)
            for (uint64_t seed = 0; seed < EDGES_GUARDED; seed++) {
                struct sy_call *want = done(&ref, op, SY_CALL_EDGE, seed);
                for (int tier = 0; tier < sy_ops_n_tiers(); tier++)
                    if (is_of_run(tier, cls) && sy_ops_tier(tier, &why)) {
                        sy_ops_guard(sy_ops_tier(tier, &why), &table);
                        struct sy_exec x =
                            exec_open(&table, guarded, (enum sy_numeric_class)cls, 1 + (tier + op) % THREADS);
                        equal(&x, want, op, SY_CALL_EDGE, seed);
                        exec_close(&x);
                    }
                sy_call_destroy(want);
            }
        exec_close(&ref);
    }
    sy_device_destroy(guarded);
}

/* --- rows by name --------------------------------------------------------------------------------------- */

/* What ops that gather get is what the others get, and some calls have names. */
static void names_are_of_the_same_rows(void **state) {
    (void)state;
    const char *why;
    const struct sy_ops *plain = sy_ops_tier(0, &why);
    struct sy_ops named = ops_by_name(plain);
    int op = 0;
    while (strcmp(sy_calls_op(op), "linear") != 0)
        op++;
    struct sy_exec ref = exec_open(plain, sy_device_cpu(), SY_NUMERIC_SM90, 1);
    struct sy_exec x = exec_open(&named, sy_device_cpu(), SY_NUMERIC_SM90, 1);
    calls_by_name = 0;
    for (uint64_t seed = 0; seed < EDGES; seed++) {
        struct sy_call *want = done(&ref, op, SY_CALL_EDGE, seed);
        equal(&x, want, op, SY_CALL_EDGE, seed);
        sy_call_destroy(want);
    }
    assert_in_range(calls_by_name, EDGES / 8, EDGES * 3 / 4);
    exec_close(&x);
    exec_close(&ref);
}

/* --- controls ------------------------------------------------------------------------------------------- */

#define X(name, type)                                                         \
    static void idle_##name(const struct sy_exec *x, const struct type *op) { \
        (void)x;                                                              \
        (void)op;                                                             \
    }
SY_OPS_LIST(X)
#undef X

/* A tier whose ops do nothing is found out for every op, on typical calls and on most of the others. */
static void idle_ops_are_seen(void **state) {
    (void)state;
    const char *why;
    struct sy_ops idle = *sy_ops_tier(0, &why);
#define X(name, type) idle.name = idle_##name;
    SY_OPS_LIST(X)
#undef X
    struct sy_exec x = exec_open(&idle, sy_device_cpu(), SY_NUMERIC_X86, 1);
    struct sy_exec ref = exec_open(sy_ops_tier(0, &why), sy_device_cpu(), SY_NUMERIC_X86, 1);
    char text[200];
    for (int op = 0; op < sy_calls_n_ops(); op++) {
        int found = 0;
        struct sy_call *want = done(&ref, op, SY_CALL_TYPICAL, 1);
        if (!differs(&x, want, op, SY_CALL_TYPICAL, 1, text, sizeof text))
            fail_msg("%s: a typical call of an op that does nothing passes", sy_calls_op(op));
        if (!strstr(text, sy_calls_op(op)))
            fail_msg("\"%s\" does not name %s", text, sy_calls_op(op));
        sy_call_destroy(want);
        for (uint64_t seed = 0; seed < EDGES; seed++) {
            want = done(&ref, op, SY_CALL_EDGE, seed);
            found += differs(&x, want, op, SY_CALL_EDGE, seed, text, sizeof text);
            sy_call_destroy(want);
        }
        if (found < EDGES / 3)
            fail_msg("%s: an op that does nothing is seen in %d of %d calls", sy_calls_op(op), found, EDGES);
    }
    exec_close(&x);
    exec_close(&ref);
}

/* The last bit of one element, in the pieces of a row that a kernel leaves to the end, is seen. */
static void wrong_rmsnorm(const struct sy_exec *x, const struct sy_rmsnorm_fwd *op) {
    const char *why;
    sy_ops_tier(0, &why)->rmsnorm_fwd(x, op);
    ((uint16_t *)op->y.data)[(op->tokens - 1) * op->y.token + (op->heads - 1) * op->y.head + op->d - 1] ^= 1;
}

static void one_bit_is_seen(void **state) {
    (void)state;
    const char *why;
    struct sy_ops wrong = *sy_ops_tier(0, &why);
    char text[200];
    wrong.rmsnorm_fwd = wrong_rmsnorm;
    struct sy_exec x = exec_open(&wrong, sy_device_cpu(), SY_NUMERIC_X86, 1);
    struct sy_exec ref = exec_open(sy_ops_tier(0, &why), sy_device_cpu(), SY_NUMERIC_X86, 1);
    for (int op = 0; op < sy_calls_n_ops(); op++) {
        struct sy_call *want = done(&ref, op, SY_CALL_TYPICAL, 1);
        assert_int_equal(differs(&x, want, op, SY_CALL_TYPICAL, 1, text, sizeof text),
                         strcmp(sy_calls_op(op), "rmsnorm_fwd") == 0);
        sy_call_destroy(want);
    }
    exec_close(&x);
    exec_close(&ref);
}

/* A call is a function of its seed: the same again is equal, another is not. */
static void calls_are_their_seed(void **state) {
    (void)state;
    const char *why;
    struct sy_exec x = exec_open(sy_ops_tier(0, &why), sy_device_cpu(), SY_NUMERIC_SM90, 1);
    char text[200];
    for (int op = 0; op < sy_calls_n_ops(); op++) {
        struct sy_call *a = done(&x, op, SY_CALL_EDGE, 6), *b = done(&x, op, SY_CALL_EDGE, 6),
                       *c = done(&x, op, SY_CALL_EDGE, 12);
        assert_int_equal(sy_call_differs(a, b, text, sizeof text), 0);
        sy_call_reset(&x, b); /* and may be run again */
        sy_call_run(&x, b);
        assert_int_equal(sy_call_finish(&x, b), SY_OK);
        assert_int_equal(sy_call_differs(a, b, text, sizeof text), 0);
        if (!sy_call_differs(a, c, text, sizeof text))
            fail_msg("%s: calls 6 and 12 are the same", sy_calls_op(op));
        sy_call_destroy(a);
        sy_call_destroy(b);
        sy_call_destroy(c);
    }
    exec_close(&x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tier_x86),
        cmocka_unit_test(every_tier_amx),
        cmocka_unit_test(every_tier_sm90),
        cmocka_unit_test(every_tier_fp32),
        cmocka_unit_test(closed_device),
        cmocka_unit_test(idle_ops_are_seen),
        cmocka_unit_test(one_bit_is_seen),
        cmocka_unit_test(calls_are_their_seed),
        cmocka_unit_test(names_are_of_the_same_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
