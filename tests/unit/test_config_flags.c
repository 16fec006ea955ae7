/* Options as flags: their forms, what is left for others, empty paths, and what is wrong with them. */
#include "config_case.h"

static void test_flags(void **state) {
    (void)state;
    struct sy_config *cfg = fresh();
    must(load(cfg, "[training]\ndataset_path = [\"old\"]\n[validation]\nenable = true\n"));
    must(flags(cfg,
               "train --training.seq-len=64 conf.toml --steps 3 --training.steps 7 --metrics.moe_counters "
               "--checkpoint.no-enable "
               "--validation.enable false --training.dataset_path=a --training.dataset-path b "
               "--lr_scheduler.decay_ratio -1 "
               "--run.dir=x=y --run.fresh true -- --training.steps=9",
               "train conf.toml --steps 3 -- --training.steps=9"));
    assert_int_equal(cfg->training.seq_len, 64);
    assert_int_equal(cfg->training.steps, 7);
    assert_true(cfg->metrics.moe_counters);
    assert_false(cfg->checkpoint.enable);
    assert_false(cfg->validation.enable);
    assert_int_equal(cfg->training.dataset_path.n, 2);
    assert_string_equal(cfg->training.dataset_path.items[0], "a");
    assert_string_equal(cfg->training.dataset_path.items[1], "b");
    assert_string_equal(cfg->run.dir, "x=y");
    assert_true(cfg->run.fresh);
    must(flags(cfg, "--training.dataset_path=c --model.no-attention-bias", ""));
    assert_int_equal(cfg->training.dataset_path.n, 1);
    sy_config_destroy(cfg);
}

/* An empty path is as if it were not given, whichever option it is and whatever says so; "no" takes a path
 * away. */
static void test_empty_paths(void **state) {
    (void)state;
    static const struct {
        const char *key, *first, *given, *shown;
    } paths[] = {
        {"run.dir", "\"\"", "a", "\"a\""},
        {"moe.routes_in", "\"\"", "a", "\"a\""},
        {"moe.routes_out", "\"\"", "a", "\"a\""},
        {"tokenizer.path", "\"byte\"", "a", "\"a\""},
        {"training.dataset_path", "[]", "a", "[\"a\"]"},
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct sy_config *cfg = fresh();
        char text[256];
        const char *dot = strchr(paths[i].key, '.'), *const empty[] = {"\"\"", "[]", "[\"\", \"\"]"};
        for (size_t k = 0; k < (*paths[i].shown == '[' ? 3 : 1); k++) {
            snprintf(text, sizeof text, "[%.*s]\n%s = %s\n", (int)(dot - paths[i].key), paths[i].key, dot + 1,
                     empty[k]);
            must(load(cfg, text));
            expect_get(cfg, paths[i].key, paths[i].first);
            assert_int_equal(sy_config_layer_of(cfg, paths[i].key), SY_LAYER_DEFAULT);
        }
        snprintf(text, sizeof text, "--%s=", paths[i].key);
        must(flags(cfg, text, ""));
        must(sy_option_set(cfg, paths[i].key, ""));
        expect_get(cfg, paths[i].key, paths[i].first);
        must(sy_config_set(cfg, SY_LAYER_FILE, "f.toml", paths[i].key, paths[i].given));
        must(flags(cfg, text, ""));
        expect_get(cfg, paths[i].key, paths[i].shown);
        snprintf(text, sizeof text, "--%.*s.no-%s", (int)(dot - paths[i].key), paths[i].key, dot + 1);
        must(flags(cfg, text, ""));
        expect_get(cfg, paths[i].key, paths[i].first);
        must(sy_config_set(cfg, SY_LAYER_FILE, "f.toml", paths[i].key,
                           paths[i].given)); /* weaker than the flag */
        expect_get(cfg, paths[i].key, paths[i].first);
        sy_config_destroy(cfg);
    }
    struct sy_config *cfg = fresh();
    must(load(cfg, "[training]\ndataset_path = [\"\", \"a\", \"\", \"b\"]\n[debug]\nbreak = "
                   "\"\"\n[data]\nsuffixes = [\"\"]\n"));
    expect_get(cfg, "training.dataset_path", "[\"a\", \"b\"]");
    expect_get(cfg, "data.suffixes", "[\"\"]"); /* no path: a text as it is */
    assert_int_equal(sy_config_layer_of(cfg, "debug.break"), SY_LAYER_FILE);
    must(flags(cfg, "--training.dataset_path= --training.dataset_path=c", ""));
    expect_get(cfg, "training.dataset_path", "[\"c\"]");
    sy_config_destroy(cfg);
}

static void expect_flags(const char *words, const char *message) {
    struct sy_config *cfg = fresh();
    assert_int_equal(flags(cfg, words, ""), SY_ERR_USAGE);
    assert_string_equal(sy_error_message(), message);
    sy_config_destroy(cfg);
}

static void test_flag_errors(void **state) {
    (void)state;
    expect_flags("--training.sequence-len=3",
                 "command line: training.sequence_len: there is no such option: did you mean "
                 "training.seq_len?");
    expect_flags("--training.steps",
                 "command line: training.steps: a value is missing: write --training.steps=VALUE");
    expect_flags("--training.steps --run.fresh",
                 "command line: training.steps: a value is missing: write --training.steps=VALUE");
    expect_flags("--training.steps=ten",
                 "command line: training.steps = \"ten\": an integer (no quotes, no decimal point) is "
                 "needed here");
    expect_flags("--run.no-fresh=true",
                 "command line: run.fresh = true: the form with \"no\" takes no value");
    expect_flags("--run.no-threads",
                 "command line: run.no_threads: there is no such option: did you mean run.threads?");
    expect_flags("--run.no-dir=x", "command line: run.dir = x: the form with \"no\" takes no value");
    expect_flags("--run.dir=\xff", "command line: run.dir = \"\xff\": a string in UTF-8 is needed");
    expect_flags("--optimizer.lr=nan",
                 "command line: optimizer.lr = nan: out of bounds: choose 0.0 to 1000.0");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_empty_paths),
        cmocka_unit_test(test_flag_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
