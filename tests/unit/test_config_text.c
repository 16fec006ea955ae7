/* A config as text: printed it loads back, `init`, help and docs/CONFIG.md say what is so. */
#include "config_case.h"

struct buffer {
    char text[1 << 16];
    size_t n;
};

static void collect(void *user, const char *text, size_t n) {
    struct buffer *b = user;
    assert_true(b->n + n < sizeof b->text);
    memcpy(b->text + b->n, text, n);
    b->n += n;
    b->text[b->n] = 0;
}

static void expect_round_trip(struct sy_config *cfg) {
    struct buffer a = {.n = 0}, b = {.n = 0};
    struct sy_config *again = fresh();
    sy_config_print(cfg, collect, &a);
    must(load(again, a.text));
    must(sy_config_finish(again, false));
    sy_config_print(again, collect, &b);
    assert_string_equal(a.text, b.text);
    for (int i = 0; sy_config_key(i, NULL); i++) {
        const char *text;
        must(sy_config_get(cfg, sy_config_key(i, NULL), &text));
        expect_get(again, sy_config_key(i, NULL), text);
    }
    sy_config_destroy(again);
}

static void test_print(void **state) {
    (void)state;
    struct sy_config *cfg = fresh();
    must(load(cfg, "[model]\nflavor = \"micro_mla\"\n[job]\ndescription = \"a \\\"q\\\" \\\\ \\n \\t \\u0001 "
                   "\\u007f \xc3\xa9\"\n"
                   "[training]\ndataset_path = [\"x\", \"y \\\" z\"]\n[optimizer]\nlr = "
                   "0.30000000000000004\neps = 1e-29\n"
                   "[debug]\nseed = 9223372036854775807\n"));
    must(sy_config_finish(cfg, false));
    expect_get(cfg, "optimizer.lr", "0.30000000000000004");
    expect_get(cfg, "optimizer.eps", "1e-29");
    expect_get(cfg, "training.dataset_path", "[\"x\", \"y \\\" z\"]");
    expect_get(cfg, "moe.score-func", "\"sigmoid\"");
    expect_get(cfg, "model.qk_norm", "\"none\"");
    assert_string_equal(sy_config_word(cfg, "moe.score-func"), "sigmoid");
    assert_null(sy_config_word(cfg, "moe.top_k"));
    expect_round_trip(cfg);
    const char *text;
    assert_int_equal(sy_config_get(cfg, "moe.topk", &text), SY_ERR_USAGE);
    assert_string_equal(sy_error_message(), "moe.topk: there is no such option: did you mean moe.top_k?");
    sy_config_destroy(cfg);
}

static void test_configs(void **state) {
    (void)state;
    static const struct {
        const char *path;
        int64_t seq_len, batch, lanes, expert_lanes, cell;
    } rows[] = {
        {"configs/tiny.toml", 128, 16, 8, 1, 1},     {"configs/micro_mla.toml", 32, 16, 8, 1, 1},
        {"configs/micro_gqa.toml", 32, 16, 8, 1, 1}, {"configs/dsv3_debug.toml", 512, 8, 8, 1, 1},
        {"configs/gqa_debug.toml", 512, 8, 8, 1, 1}, {"configs/dsv3_671b.toml", 4096, 1024, 64, 32, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sy_config *cfg = fresh();
        enum sy_config_effect effect;
        must(sy_config_load_file(cfg, rows[i].path));
        must(sy_config_finish(cfg, false));
        assert_int_equal(cfg->training.seq_len, rows[i].seq_len);
        assert_int_equal(cfg->training.global_batch_size, rows[i].batch);
        assert_int_equal(cfg->numerics.lanes, rows[i].lanes);
        assert_int_equal(cfg->numerics.expert_lanes, rows[i].expert_lanes);
        assert_int_equal(cfg->numerics.cell, rows[i].cell);
        for (int k = 0; sy_config_key(k, &effect); k++) /* all that is recipe is stated */
            if (effect == SY_EFFECT_RECIPE)
                assert_int_equal(sy_config_layer_of(cfg, sy_config_key(k, NULL)), SY_LAYER_FILE);
        expect_round_trip(cfg);
        sy_config_destroy(cfg);
    }
}

/* `init` of each flavor loads, finishes, and means what the flavor means. */
static void test_init(void **state) {
    (void)state;
    for (int i = 0; sy_config_flavor(i, NULL); i++) {
        struct buffer text = {.n = 0}, a = {.n = 0}, b = {.n = 0};
        struct sy_config *from_init = fresh(), *plain = fresh();
        must(sy_config_init(sy_config_flavor(i, NULL), collect, &text));
        must(load(from_init, text.text));
        must(sy_config_finish(from_init, false));
        must(sy_config_set(plain, SY_LAYER_FLAG, "command line", "model.flavor", sy_config_flavor(i, NULL)));
        must(sy_config_finish(plain, false));
        sy_config_print(from_init, collect, &a);
        sy_config_print(plain, collect, &b);
        assert_string_equal(a.text, b.text);
        sy_config_destroy(from_init);
        sy_config_destroy(plain);
    }
    struct buffer text = {.n = 0};
    must(sy_config_init("", collect, &text));
    assert_int_equal(sy_config_init("none", collect, &text), SY_ERR_USAGE);
}

/* Every comment of `init` that shows a value would load, too. */
static void test_init_comments(void **state) {
    (void)state;
    struct buffer text = {.n = 0};
    must(sy_config_init("dsv3-671b", collect, &text));
    for (char *p = text.text; (p = strstr(p, "\n#")); p++)
        if (p[2] != ' ')
            p[1] = ' ';
    struct sy_config *cfg = fresh();
    must(load(cfg, text.text));
    must(sy_config_finish(cfg, false));
    assert_int_equal(sy_config_layer_of(cfg, "model.q_lora_rank"), SY_LAYER_FILE);
    sy_config_destroy(cfg);
}

static void test_help(void **state) {
    (void)state;
    struct buffer text = {.n = 0};
    must(sy_config_help("training.global-batch-size", collect, &text));
    assert_non_null(strstr(text.text, "training.global_batch_size = 8\n  accepts: 1 to 16777216\n"));
    assert_non_null(strstr(text.text, "-1 is refused: "));
    text.n = 0;
    must(sy_config_help("numerics", collect, &text));
    assert_non_null(strstr(text.text, "numerics.expert_lanes = 1"));
    text.n = 0;
    must(sy_config_help("parallelism.tensor_parallel_degree", collect, &text));
    assert_non_null(strstr(text.text, "refused unless it is 1"));
    assert_int_equal(sy_config_help("training.batch_size", collect, &text), SY_ERR_USAGE);
    assert_non_null(strstr(sy_error_message(), "batch_size?"));
    static const struct {
        const char *word, *first, *second;
    } words[] = {
        {"steps", "training.steps = ", "\nvalidation.steps = "},
        {"lr", "optimizer.lr = ", ""},
        {"top_k", "moe.top_k = ", ""},
        {"learning-rate", "optimizer.lr = ", ""},
        {"batch_size", "training.global_batch_size = ", ""},
        {"qwen", "model.flavor = \"qwen3-30b-a3b\"\n", "\nmodel.flavor = \"qwen3-235b-a22b\"\n"},
        {"micro-gqa", "model.flavor = \"micro_gqa\"\n", "num_experts=8"},
        {"tensor_parallel_degree", "parallelism.tensor_parallel_degree\n", "refused unless"},
        {"data", "[data]\n", "data.format = "},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        text.n = 0;
        must(sy_config_help(words[i].word, collect, &text));
        assert_ptr_equal(strstr(text.text, words[i].first), text.text);
        assert_non_null(strstr(text.text, words[i].second));
    }
    text.n = 0;
    assert_int_equal(sy_config_help("sep_len", collect, &text), SY_ERR_USAGE);
    assert_string_equal(sy_error_message(),
                        "sep_len: there is no such option or section: did you mean training.seq_len?");
    assert_int_equal(sy_config_help("trainning", collect, &text), SY_ERR_USAGE);
    assert_string_equal(sy_error_message(),
                        "trainning: there is no such option or section: did you mean training?");
    assert_int_equal(text.n, 0);
    for (int i = 0; sy_config_key(i, NULL); i++) {
        text.n = 0;
        must(sy_config_help(sy_config_key(i, NULL), collect, &text));
        for (char *line = text.text, *end; (end = strchr(line, '\n')); line = end + 1)
            assert_true(end - line <= 80 || strstr(line, "accepts"));
    }
}

static void test_reference(void **state) {
    (void)state;
    static struct buffer text;
    sy_config_reference(collect, &text);
    for (int i = 0; sy_config_key(i, NULL); i++) {
        char row[256];
        snprintf(row, sizeof row, "\n| `%s` | ", strchr(sy_config_key(i, NULL), '.') + 1);
        assert_non_null(strstr(text.text, row));
    }
    assert_non_null(strstr(text.text, "`parallelism.tensor_parallel_degree` | `1` |"));
    FILE *f = fopen("docs/CONFIG.md", "r");
    static char file[sizeof text.text];
    assert_non_null(f);
    file[fread(file, 1, sizeof file - 1, f)] = 0;
    fclose(f);
    assert_string_equal(file, text.text); /* else: make docs */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_print), cmocka_unit_test(test_configs),
        cmocka_unit_test(test_init),  cmocka_unit_test(test_init_comments),
        cmocka_unit_test(test_help),  cmocka_unit_test(test_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
