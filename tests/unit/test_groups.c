/* The texts of optimizer.groups and training.skip_steps: what they say, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "config/groups.h"
#include "config/ranges.h"

static struct sy_optimizer_group group(const char *text) {
    struct sy_optimizer_group g;
    if (sy_optimizer_group_parse(text, &g) != SY_OK)
        fail_msg("%s", sy_error_message());
    return g;
}

static void test_settings(void **state) {
    (void)state;
    struct sy_optimizer_group g = group("*norm*: weight_decay=0");
    assert_string_equal(g.pattern, "*norm*");
    assert_true(g.lr == 1 && g.decays && g.weight_decay == 0);
    g = group("  *.gate.* :\tlr = 0.5 , weight_decay= 1e-2 ");
    assert_string_equal(g.pattern, "*.gate.*");
    assert_true(g.lr == 0.5 && g.decays && g.weight_decay == 1e-2);
    g = group("a:b: lr=2"); /* the last colon */
    assert_string_equal(g.pattern, "a:b");
    assert_true(g.lr == 2 && !g.decays);
    assert_true(group("x:frozen").lr == 0 && group("x: lr=0").lr == 0);
}

static void test_no_groups(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "*norm*",
                                      ": lr=1",
                                      "x:",
                                      "x: lr",
                                      "x: lr=",
                                      "x: lr=fast",
                                      "x: lr=-1",
                                      "x: lr=1001",
                                      "x: lr=nan",
                                      "x: lr=1 2",
                                      "x: decay=1",
                                      "x: lr=1,",
                                      "x: lr=1, lr=1",
                                      "x: frozen, lr=1",
                                      "x: frozen=1",
                                      "x: weight_decay=1, weight_decay=1"};
    struct sy_optimizer_group g = {.lr = 7};
    char long_one[400];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (sy_optimizer_group_parse(bad[i], &g) != SY_ERR_USAGE)
            fail_msg("\"%s\" is a group", bad[i]);
    memset(long_one, 'a', sizeof long_one);
    memcpy(long_one + SY_GROUP_PATTERN_BYTES - 1, ":lr=1", 6);
    assert_int_equal(sy_optimizer_group_parse(long_one, &g), SY_OK);
    memset(long_one, 'a', sizeof long_one);
    memcpy(long_one + SY_GROUP_PATTERN_BYTES, ":lr=1", 6);
    g.lr = 7;
    assert_int_equal(sy_optimizer_group_parse(long_one, &g), SY_ERR_USAGE);
    assert_true(g.lr == 7);
}

static void test_names(void **state) {
    (void)state;
    struct sy_optimizer_group g = group("model.layers.?.mlp.*.weight: lr=1"), bare = group("*: lr=1");
    assert_true(sy_optimizer_group_has(&g, "model.layers.1.mlp.experts.10.up_proj.weight"));
    assert_false(sy_optimizer_group_has(&g, "model.layers.11.mlp.gate.weight"));
    assert_false(sy_optimizer_group_has(&g, "model.layers.1.mlp.gate.bias"));
    assert_true(sy_optimizer_group_has(&bare, "lm_head.weight"));
    g = group("*.[kv]_proj.*: lr=1");
    assert_true(sy_optimizer_group_has(&g, "a.k_proj.weight") && !sy_optimizer_group_has(&g, "a.q_proj.b"));
}

static void test_ranges(void **state) {
    (void)state;
    static const char *const good[] = {"3", "7-9", "12-12", "9223372036854775807"};
    static const char *const bad[] = {"",   "0",  "-3",  "3-",    "3-2", " 3",
                                      "3 ", "+3", "0x3", "3-4-5", "1e3", "9223372036854775808"};
    struct sy_step_range r;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (sy_step_range_parse(bad[i], &r) != SY_ERR_USAGE)
            fail_msg("\"%s\" is a range", bad[i]);
    for (int step = 1; step < 20; step++)
        assert_int_equal(sy_step_ranges_have(4, good, step),
                         step == 3 || (step >= 7 && step <= 9) || step == 12);
    assert_true(sy_step_ranges_have(4, good, INT64_MAX));
    assert_false(sy_step_ranges_have(0, NULL, 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_no_groups),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
