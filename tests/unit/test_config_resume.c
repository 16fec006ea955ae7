/* What a resume inherits from the checkpoint's config, and which changes it refuses. */
#include "config_case.h"

static struct sy_config *finished(const char *text) {
    struct sy_config *cfg = fresh();
    must(load(cfg, text));
    must(sy_config_finish(cfg, false));
    return cfg;
}

/* "key key ...": what has the checkpoint's layer. */
static void expect_kept(const struct sy_config *cfg, const char *keys) {
    char text[1024] = "";
    for (int i = 0; sy_config_key(i, NULL); i++)
        if (sy_config_layer_of(cfg, sy_config_key(i, NULL)) == SY_LAYER_CHECKPOINT)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s ", sy_config_key(i, NULL));
    assert_string_equal(text, keys);
}

static void test_inherit(void **state) {
    (void)state;
    struct sy_config *before =
        finished("[model]\nflavor = \"micro_gqa\"\nn_kv_heads = 2\n[optimizer]\nlr = 0.5\n"
                 "[training]\ndataset_path = [\"a\", \"b\"]\nlocal_batch_size = 3\n[numerics]\nlanes = 4\n"
                 "[debug]\nbreak = \"x\"\n[checkpoint]\nnew_recipe = true\n");
    static const struct {
        const char *text, *kept;
    } rows[] = {
        {"", "model.flavor model.n_kv_heads training.dataset_path optimizer.lr debug.break numerics.lanes "},
        {"[model]\nflavor = \"micro_gqa\"\n",
         "model.n_kv_heads training.dataset_path optimizer.lr debug.break numerics.lanes "},
        {"[optimizer]\nlr = 0.25\n[debug]\nbreak = \"\"\n[training]\ndataset_path = []\n",
         "model.flavor model.n_kv_heads training.dataset_path numerics.lanes "},
        {"[numerics]\nlanes = 0\nclass = \"auto\"\n[model]\nn_kv_heads = 0\n",
         "model.flavor training.dataset_path optimizer.lr debug.break numerics.lanes "},
        {"[model]\nflavor = \"gqa-debug\"\nn_heads = 8\n[numerics]\nlanes = 8\n",
         /* all its flavor says is stated, and it has no bias */
         "moe.keep_bias training.dataset_path training.seq_len optimizer.lr debug.break "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sy_config *cfg = fresh();
        must(load(cfg, rows[i].text));
        must(sy_config_inherit(cfg, before, "ckpt"));
        must(sy_config_finish(cfg, false));
        expect_kept(cfg, rows[i].kept);
        expect_get(cfg, "training.dataset_path", "[\"a\", \"b\"]");
        assert_int_equal(cfg->training.local_batch_size, 4); /* layout is this run's own */
        assert_false(cfg->checkpoint.new_recipe);
        if (i == 0)
            must(sy_config_refuse_changes(cfg, before, SY_EFFECT_MODEL, "no"));
        else if (i == 4)
            assert_int_equal(sy_config_refuse_changes(cfg, before, SY_EFFECT_MODEL, "no"), SY_ERR_USAGE);
        sy_config_destroy(cfg);
    }
    struct sy_config *cfg = fresh();
    must(load(cfg, "[model]\ndim = 64\n[moe]\nnum_experts = 16\n"));
    must(sy_config_inherit(cfg, before, "ckpt"));
    assert_int_equal(sy_config_refuse_changes(cfg, before, SY_EFFECT_MODEL, "why"), SY_ERR_USAGE);
    static const char *const both[] = {"f.toml:2: model.dim = 64: the run has 32: why",
                                       "f.toml:4: moe.num_experts = 16: the run has 8: why"};
    expect_problems(cfg, 2, both);
    sy_config_destroy(cfg);
    sy_config_destroy(before);
}

/* An expert bias stays; it is kept only where there was one. */
static void test_keep_bias(void **state) {
    (void)state;
    static const struct {
        const char *before, *now;
        bool has, kept;
    } rows[] = {
        {"", "", true, false},
        {"", "load_balance_coeff = 0.0\n", true, true},
        {"load_balance_coeff = 0.0\nkeep_bias = true\n", "", true, true},
        {"load_balance_coeff = 0.0\nkeep_bias = true\n", "load_balance_coeff = 0.5\n", true, true},
        {"load_balance_coeff = 0.0\n", "", false, false},
        {"load_balance_coeff = 0.0\n", "load_balance_coeff = 0.5\n", true, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[256];
        snprintf(text, sizeof text, "[model]\nflavor = \"micro_gqa\"\n[moe]\n%s", rows[i].before);
        struct sy_config *before = finished(text), *cfg = fresh();
        snprintf(text, sizeof text, "[model]\nflavor = \"micro_gqa\"\n[moe]\n%s", rows[i].now);
        must(load(cfg, text));
        must(sy_config_inherit(cfg, before, "ckpt"));
        must(sy_config_finish(cfg, false));
        assert_true(sy_config_has_expert_bias(&cfg->moe) == rows[i].has &&
                    cfg->moe.keep_bias == rows[i].kept);
        sy_config_destroy(cfg);
        sy_config_destroy(before);
    }
    struct sy_config *before = finished("[model]\nflavor = \"micro_gqa\"\n"), *cfg = fresh();
    must(flags(cfg, "--moe.load_balance_coeff=0 --moe.no-keep-bias", ""));
    assert_int_equal(sy_config_inherit(cfg, before, "ckpt"), SY_ERR_USAGE);
    assert_string_equal(sy_error_message(),
                        "command line: moe.keep_bias = false: ckpt has an expert bias, which stays: choose "
                        "true, or leave it out");
    sy_config_destroy(cfg);
    sy_config_destroy(before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inherit),
        cmocka_unit_test(test_keep_bias),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
