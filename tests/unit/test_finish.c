/* sy_config_finish may be called again: what it chose before is undone for every option, the first and
 * the last too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "config/config.h"

/* Another value than the default, as text. */
static int other_value(struct sy_config *c, const char *key, char out[64]) {
    static const char *const texts[] = {"1", "2", "0.5", "true", "false", "x"};
    const char *was, *is;
    char kept[256];
    if (sy_config_get(c, key, &was) != SY_OK)
        return 0;
    snprintf(kept, sizeof kept, "%s", was);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct sy_config *probe;
        assert_int_equal(sy_config_create(&probe), SY_OK);
        int taken = sy_config_set(probe, SY_LAYER_FLAVOR, "flavor x", key, texts[i]) == SY_OK &&
                    sy_config_get(probe, key, &is) == SY_OK && strcmp(is, kept) != 0;
        sy_config_destroy(probe);
        if (taken)
            return snprintf(out, 64, "%s", texts[i]) > 0;
    }
    return 0;
}

static void what_a_flavor_said_is_undone(void **state) {
    (void)state;
    enum sy_config_effect effect;
    const char *key, *text;
    int n = 0;
    for (int i = 0; (key = sy_config_key(i, &effect)); i++) {
        struct sy_config *c;
        char value[64], said[256];
        assert_int_equal(sy_config_create(&c), SY_OK);
        if (other_value(c, key, value)) {
            n++;
            assert_int_equal(sy_config_set(c, SY_LAYER_FLAVOR, "flavor x", key, value), SY_OK);
            assert_int_equal(sy_config_get(c, key, &text), SY_OK);
            snprintf(said, sizeof said, "%s", text);
            sy_config_finish(c, false); /* refuses a config without a model; that is not asked here */
            assert_int_equal(sy_config_get(c, key, &text), SY_OK);
            if (sy_config_layer_of(c, key) == SY_LAYER_FLAVOR || strcmp(text, said) == 0)
                fail_msg("%s is still %s, as an earlier flavor said", key, text);
        } else if (i == 0) {
            fail_msg("the first option, %s, was not tried", key);
        }
        sy_config_destroy(c);
    }
    assert_in_range(n, 60, 1000);
}

/* What a rule chose from one model does not stay for the next. */
static void what_a_rule_chose_is_undone(void **state) {
    (void)state;
    struct sy_config *c;
    assert_int_equal(sy_config_create(&c), SY_OK);
    assert_int_equal(sy_config_set(c, SY_LAYER_FLAG, "t", "training.dataset_path", "none"), SY_OK);
    assert_int_equal(sy_config_set(c, SY_LAYER_FLAG, "t", "model.flavor", "micro_gqa"), SY_OK);
    assert_int_equal(sy_config_set(c, SY_LAYER_FLAG, "t", "training.global_batch_size", "2"), SY_OK);
    assert_int_equal(sy_config_finish(c, false), SY_OK);
    assert_int_equal(c->numerics.lanes, 2);
    int64_t kv_heads = c->model.n_kv_heads;
    assert_int_equal(sy_config_set(c, SY_LAYER_FLAG, "t", "model.flavor", "micro_mla"), SY_OK);
    assert_int_equal(sy_config_set(c, SY_LAYER_FLAG, "t", "training.global_batch_size", "16"), SY_OK);
    assert_int_equal(sy_config_finish(c, false), SY_OK);
    assert_int_equal(c->numerics.lanes, 8);
    assert_int_equal(c->model.n_kv_heads, c->model.n_heads);
    assert_int_equal(c->model.attention, SY_ATTENTION_MLA);
    assert_true(kv_heads > 0);
    sy_config_destroy(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_a_flavor_said_is_undone),
                                       cmocka_unit_test(what_a_rule_chose_is_undone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
