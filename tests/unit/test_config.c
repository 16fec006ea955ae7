/* The config: precedence, flags, bounds, checks between options, what is refused, and text that loads back.
 *
 * Messages are compared whole where their form is the promise: `file:line: key = value: bound: what to do`.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

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

static struct sy_config *fresh(void) {
    struct sy_config *cfg;
    assert_int_equal(sy_config_create(&cfg), SY_OK);
    return cfg;
}

static void must(sy_status status) {
    if (status != SY_OK)
        fail_msg("%s", sy_error_message());
}

static sy_status load(struct sy_config *cfg, const char *text) {
    return sy_config_load_text(cfg, "f.toml", text, strlen(text));
}

/* Takes words as argv; checks that what is left is `rest`. */
static sy_status flags(struct sy_config *cfg, const char *words, const char *rest) {
    char text[1024], left[1024] = "", *argv[64] = {(char *)"switchyard"};
    int argc = 1;
    snprintf(text, sizeof text, "%s", words);
    for (char *p = strtok(text, " "); p; p = strtok(NULL, " "))
        argv[argc++] = p;
    sy_status status = sy_config_flags(cfg, &argc, argv);
    for (int i = 1; i < argc; i++)
        snprintf(left + strlen(left), sizeof left - strlen(left), "%s%s", i > 1 ? " " : "", argv[i]);
    if (status == SY_OK)
        assert_string_equal(left, rest);
    return status;
}

static void expect_get(struct sy_config *cfg, const char *key, const char *value) {
    const char *text;
    must(sy_config_get(cfg, key, &text));
    assert_string_equal(text, value);
}

/* Loading this file fails with this message. */
static void expect_load(const char *text, const char *message) {
    struct sy_config *cfg = fresh();
    assert_int_equal(load(cfg, text), SY_ERR_USAGE);
    assert_string_equal(sy_error_message(), message);
    sy_config_destroy(cfg);
}

/* A micro model with these flags fails to finish with this message. */
static void expect_finish(const char *flavor, const char *words, const char *message) {
    struct sy_config *cfg = fresh();
    must(sy_config_set(cfg, SY_LAYER_FLAG, "command line", "model.flavor", flavor));
    must(flags(cfg, words, ""));
    assert_int_equal(sy_config_finish(cfg, false), SY_ERR_USAGE);
    assert_string_equal(sy_error_message(), message);
    sy_config_destroy(cfg);
}

/* ---- values ---- */

static void test_defaults(void **state) {
    (void)state;
    struct sy_config *cfg = fresh();
    assert_int_equal(cfg->training.global_batch_size, 8);
    assert_int_equal(cfg->training.local_batch_size, 4);
    assert_int_equal(cfg->debug.seed, 42);
    assert_true(cfg->optimizer.lr == 8e-4 && cfg->optimizer.beta2 == 0.95 && cfg->optimizer.eps == 1e-8);
    assert_true(cfg->checkpoint.enable && cfg->checkpoint.interval == 500 &&
                cfg->checkpoint.keep_latest_k == 10);
    assert_true(cfg->lr_scheduler.decay_ratio < 0 && cfg->lr_scheduler.decay_type == SY_DECAY_LINEAR);
    assert_true(cfg->data.holdout == 0.01 && cfg->moe.load_balance_coeff == 1e-3);
    assert_string_equal(cfg->tokenizer.path, "byte");
    assert_string_equal(cfg->debug.break_, "");
    assert_int_equal(cfg->training.dataset_path.n, 0);
    sy_config_destroy(cfg);
    sy_config_destroy(NULL);
}

static void test_file(void **state) {
    (void)state;
    struct sy_config *cfg = fresh();
    must(load(cfg, "[model]\ndim = 64\nattention = \"mla\"\n[training]\ndataset_path = [\"a\", \"b "
                   "c\"]\nseq-len = 0x20\n"
                   "[optimizer]\nlr = 1\nbeta1 = 0.5\n[checkpoint]\nenable = false\n[debug]\nbreak = \"x\"\n"
                   "[quantize.linear.float8]\nemulate = false\n"));
    assert_int_equal(cfg->model.dim, 64);
    assert_int_equal(cfg->model.attention, SY_ATTENTION_MLA);
    assert_int_equal(cfg->training.dataset_path.n, 2);
    assert_string_equal(cfg->training.dataset_path.items[1], "b c");
    assert_int_equal(cfg->training.seq_len, 32);
    assert_true(cfg->optimizer.lr == 1.0 && cfg->optimizer.beta1 == 0.5);
    assert_false(cfg->checkpoint.enable);
    assert_string_equal(cfg->debug.break_, "x");
    must(load(cfg, "[training]\ndataset_path = \"one\"\n"));
    assert_int_equal(cfg->training.dataset_path.n, 1);
    sy_config_destroy(cfg);
}

static void test_precedence(void **state) {
    (void)state;
    struct sy_config *cfg = fresh();
    must(flags(cfg, "--model.n_heads=4", ""));
    must(load(cfg, "[model]\nflavor = \"gqa_debug\"\ndim = 512\nn_heads = 16\n[moe]\ntop_k = 1\n"));
    must(sy_config_set(cfg, SY_LAYER_CHECKPOINT, "config.json", "model.dim", "128"));
    must(sy_config_set(cfg, SY_LAYER_CHECKPOINT, "config.json", "model.vocab_size", "300"));
    must(sy_config_finish(cfg, false));
    assert_int_equal(cfg->model.n_heads, 4);      /* flag over file */
    assert_int_equal(cfg->model.dim, 512);        /* file over checkpoint */
    assert_int_equal(cfg->model.vocab_size, 300); /* checkpoint over flavor */
    assert_int_equal(cfg->moe.top_k, 1);          /* file over flavor */
    assert_int_equal(cfg->moe.num_experts, 8);    /* flavor over default */
    assert_int_equal(cfg->numerics.lanes, 8);     /* a rule */
    assert_string_equal(cfg->model.flavor, "gqa-debug");
    assert_int_equal(sy_config_layer_of(cfg, "model.n_heads"), SY_LAYER_FLAG);
    assert_int_equal(sy_config_layer_of(cfg, "model.dim"), SY_LAYER_FILE);
    assert_int_equal(sy_config_layer_of(cfg, "model.vocab-size"), SY_LAYER_CHECKPOINT);
    assert_int_equal(sy_config_layer_of(cfg, "moe.num_experts"), SY_LAYER_FLAVOR);
    assert_int_equal(sy_config_layer_of(cfg, "numerics.lanes"), SY_LAYER_RULE);
    assert_int_equal(sy_config_layer_of(cfg, "optimizer.lr"), SY_LAYER_DEFAULT);
    sy_config_destroy(cfg);
}

/* A second finish forgets what the first one chose. */
static void test_finish_again(void **state) {
    (void)state;
    struct sy_config *cfg = fresh();
    must(load(cfg, "[model]\nflavor = \"micro_mla\"\n[numerics]\nlanes = 0\n"));
    must(sy_config_finish(cfg, true));
    assert_int_equal(cfg->numerics.class, SY_CLASS_SM90);
    assert_int_equal(cfg->run.device, SY_DEVICE_CUDA);
    assert_int_equal(cfg->numerics.lanes, 8);
    must(flags(cfg, "--training.global_batch_size=12 --model.flavor=micro-gqa", ""));
    must(sy_config_finish(cfg, false));
    assert_int_equal(cfg->numerics.class, SY_CLASS_X86);
    assert_int_equal(cfg->run.device, SY_DEVICE_CPU);
    assert_int_equal(cfg->numerics.lanes, 4);
    assert_int_equal(cfg->model.attention, SY_ATTENTION_GQA);
    assert_int_equal(cfg->model.kv_lora_rank, 512);
    assert_int_equal(cfg->moe.num_expert_groups, 0);
    sy_config_destroy(cfg);
}

/* A GPU computes class sm90 alone; "auto" leaves it alone where another class is stated. */
static void test_device(void **state) {
    (void)state;
    static const struct {
        const char *flags;
        bool hopper;
        sy_status status;
        int class, ordinal; /* -2: the CPU */
    } cases[] = {
        {"", false, SY_OK, SY_CLASS_X86, -2},
        {"", true, SY_OK, SY_CLASS_SM90, -1},
        {"--numerics.class=sm90", false, SY_OK, SY_CLASS_SM90, -2},
        {"--numerics.class=sm90", true, SY_OK, SY_CLASS_SM90, -1},
        {"--numerics.class=x86", true, SY_OK, SY_CLASS_X86, -2},
        {"--numerics.class=fp32", true, SY_OK, SY_CLASS_FP32, -2},
        {"--run.device=cpu", true, SY_OK, SY_CLASS_X86, -2},
        {"--run.device=cuda", false, SY_OK, SY_CLASS_SM90, -1},
        {"--run.device=cuda:0", true, SY_OK, SY_CLASS_SM90, 0},
        {"--run.device=cuda:7 --numerics.class=sm90", true, SY_OK, SY_CLASS_SM90, 7},
        {"--run.device=cuda:1 --numerics.class=x86", true, SY_ERR_USAGE, 0, 0},
        {"--run.device=cuda --numerics.class=fp32", true, SY_ERR_USAGE, 0, 0},
        {"--numerics.class=amx", true, SY_OK, SY_CLASS_AMX, -2},
        {"--run.device=cuda --numerics.class=amx", true, SY_ERR_USAGE, 0, 0},
        {"--run.device=cuda:8", true, SY_ERR_USAGE, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sy_config *cfg = fresh();
        int ordinal;
        must(load(cfg, "[model]\nflavor = \"micro_mla\"\n"));
        sy_status status = flags(cfg, cases[i].flags, "");
        if (status == SY_OK)
            status = sy_config_finish(cfg, cases[i].hopper);
        assert_int_equal(status, cases[i].status);
        if (status == SY_OK) {
            assert_int_equal(cfg->numerics.class, cases[i].class);
            bool cuda = sy_config_cuda(cfg, &ordinal);
            assert_int_equal(cuda ? ordinal : -2, cases[i].ordinal);
        }
        sy_config_destroy(cfg);
    }
}

static void test_rules(void **state) {
    (void)state;
    struct sy_config *cfg = fresh();
    must(flags(cfg,
               "--model.flavor=micro_gqa --training.global_batch_size=96 --numerics.cell=3 "
               "--model.head_dim=0 --model.n-kv-heads 0",
               ""));
    must(sy_config_finish(cfg, false));
    assert_int_equal(cfg->numerics.lanes, 8); /* 96 / 3 = 32 */
    assert_int_equal(cfg->model.head_dim, 16);
    assert_int_equal(cfg->model.n_kv_heads, 2);
    must(flags(cfg, "--numerics.class=fp32", ""));
    must(sy_config_finish(cfg, true)); /* the GPU does not compute fp32 */
    assert_int_equal(cfg->run.device, SY_DEVICE_CPU);
    assert_int_equal(sy_config_selective_every(&cfg->activation_checkpoint), 1); /* "op" */
    must(flags(cfg, "--activation_checkpoint.selective_ac_option=3", ""));
    assert_int_equal(sy_config_selective_every(&cfg->activation_checkpoint), 3);
    sy_config_destroy(cfg);
}

/* ---- flags ---- */

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

/* ---- messages of a file ---- */

static void test_file_errors(void **state) {
    (void)state;
    expect_load("[model]\n\ndmi = 3\n",
                "f.toml:3: model.dmi: there is no such option: did you mean model.dim?");
    expect_load("[training]\nlr = 3\n",
                "f.toml:2: training.lr: there is no such option: did you mean optimizer.lr?");
    expect_load("[trainning]\nsteps = 3\n",
                "f.toml:1: trainning: there is no such section: did you mean [training]?");
    expect_load("model = 3\n", "f.toml:1: model: this is a section: write [model] and its keys below it");
    expect_load("steps = 3\n", "f.toml:1: steps: there is no such option: did you mean training.steps?");
    expect_load("[model]\ndim = -1\n",
                "f.toml:2: model.dim = -1: out of bounds: choose 1 to 1048576, or leave it out");
    expect_load("[data]\nholdout = 0.75\n",
                "f.toml:2: data.holdout = 0.75: out of bounds: choose 0.0 to 0.5");
    expect_load("[model]\nrope = \"quarters\"\n",
                "f.toml:2: model.rope = \"quarters\": no such choice: choose one of \"pairs\", \"halves\"");
    expect_load("[model]\ndim = \"64\"\n",
                "f.toml:2: model.dim = \"64\": an integer (no quotes, no decimal point) is needed here");
    expect_load("[model]\ndim = 64.0\n",
                "f.toml:2: model.dim = 64.0: an integer (no quotes, no decimal point) is needed here");
    expect_load("[run]\nfresh = 1\n", "f.toml:2: run.fresh = 1: true or false (no quotes) is needed here");
    expect_load("[training]\ndataset_path = [1]\n",
                "f.toml:2: training.dataset_path = [1]: a list of strings, each in quotes, is needed here");
    expect_load("[training]\nseq-len = 1\nseq_len = 2\n",
                "f.toml:3: training.seq_len = 2: it is already set in line 2 ('-' equals '_')");
    expect_load("[run]\ndir = \"a\\u0000b\"\n",
                "f.toml:2: run.dir = \"a\\u0000b\": a string without NUL characters is needed");
    expect_load("[run]\ndir = \"a\n", "f.toml:2: the string does not end on its line");
    expect_load("[model]\ndim.x = 1\n",
                "f.toml:2: model.dim = {...}: an integer (no quotes, no decimal point) is needed here");
    struct sy_config *cfg = fresh();
    assert_int_equal(sy_config_load_file(cfg, "tests/data/no-such.toml"), SY_ERR_IO);
    assert_string_equal(sy_error_message(), "tests/data/no-such.toml: No such file or directory");
    sy_config_destroy(cfg);
}

static void test_refused(void **state) {
    (void)state;
    expect_load("[training]\nglobal_batch_size = -1\n",
                "f.toml:2: training.global_batch_size = -1: refused: a batch derived from the layout would "
                "make the answer depend "
                "on it; state the number of sequences");
    expect_load("[parallelism]\npipeline_parallel_schedule = \"ZBVZeroBubble\"\n",
                "f.toml:2: parallelism.pipeline_parallel_schedule = \"ZBVZeroBubble\": refused: its last "
                "stage is on the rank of the first, but stages go round the ranks: use "
                "\"InterleavedZeroBubble\"");
    expect_load("[parallelism]\nexpert_parallel_comm_backend = \"deepep\"\n",
                "f.toml:2: parallelism.expert_parallel_comm_backend = \"deepep\": refused: \"direct\" is "
                "what will do the "
                "same without that library; until then use \"auto\"");
    expect_finish("micro_mla", "--parallelism.tensor_parallel_degree=2",
                  "command line: parallelism.tensor_parallel_degree = 2: refused unless it is 1: a product "
                  "split over ranks is "
                  "summed in another order, so the answer would change");
    expect_finish(
        "micro_mla", "--training.dataset=c4",
        "command line: training.dataset = \"c4\": refused: use training.dataset_path with files or folders");
    expect_finish("micro_mla", "--compile.enable",
                  "command line: compile.enable = true: refused unless it is false: there is nothing to "
                  "compile at run time");
}

/* Neutral values pass, and a flag may put a file right. */
static void test_neutral(void **state) {
    (void)state;
    struct sy_config *cfg = fresh();
    must(load(cfg,
              "[model]\nflavor = \"micro_gqa\"\nconverters = []\n[parallelism]\ntensor_parallel_degree = 1\n"
              "[compile]\nenable = true\ncomponents = [\"model\"]\n[fault_tolerance]\nenable = false\n"
              "[optimizer]\nimplementation = \"fused\"\n[training.dataloader]\nnum_workers = 4\n"
              "[quantize.linear.mx]\nfilter_fqns = [\"output\"]\n[job]\ncustom_config_module = \"\"\n"));
    assert_int_equal(sy_config_finish(cfg, false), SY_ERR_USAGE);
    must(flags(cfg, "--compile.no-enable", ""));
    must(sy_config_finish(cfg, false));
    sy_config_destroy(cfg);
}

/* ---- checks between options ---- */

static void test_checks(void **state) {
    (void)state;
    struct sy_config *cfg = fresh();
    assert_int_equal(sy_config_finish(cfg, false), SY_ERR_USAGE);
    assert_string_equal(
        sy_error_message(),
        "no model is stated: choose model.flavor (`switchyard info` lists them), or state model.dim, "
        "n_layers, n_heads, vocab_size and moe.num_experts");
    must(flags(cfg, "--model.dim=32", ""));
    assert_int_equal(sy_config_finish(cfg, false), SY_ERR_USAGE);
    assert_string_equal(sy_error_message(),
                        "default: model.n_layers = 0: it must be given: state it, or choose model.flavor");
    sy_config_destroy(cfg);
    expect_finish(
        "micro_mlb", "",
        "command line: model.flavor = \"micro_mlb\": there is no such flavor: did you mean \"micro_mla\"?");
    expect_finish("micro_mla", "--moe.top_k=5",
                  "command line: moe.top_k = 5: only 4 experts remain in moe.num_limited_groups = 2 of 4 "
                  "groups: choose at most "
                  "that, or more groups");
    expect_finish("micro_gqa", "--moe.top_k=9",
                  "command line: moe.top_k = 9: more than moe.num_experts = 8: choose at most that");
    expect_finish(
        "micro_mla", "--moe.num_limited_groups=5",
        "command line: moe.num_limited_groups = 5: more than moe.num_expert_groups = 4: choose at most that");
    expect_finish("micro_gqa", "--moe.num_expert_groups=4",
                  "default: moe.num_limited_groups = 0: moe.num_expert_groups = 4 needs it: choose 1 to 4");
    expect_finish(
        "micro_mla", "--moe.num_expert_groups=3",
        "command line: moe.num_expert_groups = 3: does not divide moe.num_experts = 8: choose one that does");
    expect_finish(
        "micro_mla", "--moe.num_expert_groups=8",
        "command line: moe.num_expert_groups = 8: of moe.num_experts = 8 leaves 1 expert in a group, and "
        "moe.group_score = \"top2_sum\" needs 2: choose fewer groups or \"max\"");
    expect_finish("micro_gqa", "--numerics.lanes=3",
                  "command line: numerics.lanes = 3: times numerics.cell = 1 is 3 and does not divide "
                  "training.global_batch_size = 8: choose lanes that do");
    expect_finish("micro_gqa", "--numerics.cell=3",
                  "command line: numerics.cell = 3: does not divide training.global_batch_size = 8: choose "
                  "one that does");
    expect_finish(
        "micro_gqa", "--numerics.expert_lanes=3",
        "command line: numerics.expert_lanes = 3: does not divide numerics.lanes = 8: choose one that does");
    expect_finish("micro_gqa", "--numerics.combine_groups=3",
                  "command line: numerics.combine_groups = 3: does not divide moe.num_experts = 8: choose "
                  "one that does, or 0");
}

static void expect_problems(const struct sy_config *cfg, int n, const char *const *messages) {
    int seen = -1;
    for (int i = 0; i < (n < 10 ? n : 10); i++) {
        assert_non_null(sy_config_problem(cfg, i, &seen));
        assert_string_equal(sy_config_problem(cfg, i, NULL), messages[i]);
        assert_int_equal(seen, n);
    }
    assert_null(sy_config_problem(cfg, n < 10 ? n : 10, &seen));
    assert_null(sy_config_problem(cfg, -1, NULL));
    assert_int_equal(seen, n);
}

/* All that is wrong is told at once: of flags and file, then of the checks; up to ten. */
static void test_problems(void **state) {
    (void)state;
    struct sy_config *cfg = fresh();
    expect_problems(cfg, 0, NULL);
    assert_int_equal(flags(cfg, "--optimizer.lr=-1 --training.stepz=3 --training.steps=4", ""), SY_ERR_USAGE);
    assert_string_equal(sy_error_message(),
                        "command line: optimizer.lr = -1: out of bounds: choose 0.0 to 1000.0");
    assert_int_equal(cfg->training.steps, 4); /* reading went on */
    assert_int_equal(
        load(cfg, "[model]\nrope = 3\nflavor = \"micro_gqa\"\n[trainin]\n[training]\nlr = 3\nseq_len = 16\n"),
        SY_ERR_USAGE);
    assert_int_equal(cfg->training.seq_len, 16);
    static const char *const read[] = {
        "command line: optimizer.lr = -1: out of bounds: choose 0.0 to 1000.0",
        "command line: training.stepz: there is no such option: did you mean training.steps?",
        "f.toml:2: model.rope = 3: choose one of \"pairs\", \"halves\"",
        "f.toml:4: trainin: there is no such section: did you mean [training]?",
        "f.toml:6: training.lr: there is no such option: did you mean optimizer.lr?"};
    expect_problems(cfg, 5, read);
    assert_string_equal(sy_error_message(), read[2]); /* the first of that call */
    must(sy_config_finish(cfg, false));
    expect_problems(cfg, 0, NULL);
    must(flags(cfg,
               "--moe.top_k=9 --parallelism.data_parallel_shard_degree=0 --model.vocab_size=3 "
               "--compile.enable --model.head_dim=15",
               ""));
    assert_int_equal(sy_config_finish(cfg, false), SY_ERR_USAGE);
    static const char *const checked[] = {
        "command line: compile.enable = true: refused unless it is false: there is nothing to compile at "
        "run time",
        "command line: model.head_dim = 15: rotary embedding turns pairs: choose an even number",
        "command line: moe.top_k = 9: more than moe.num_experts = 8: choose at most that",
        "command line: parallelism.data_parallel_shard_degree = 0: no rank: choose -1 for all that are left, "
        "or how many",
        "command line: model.vocab_size = 3: tokenizer.path = \"byte\" has 259 ids: choose at least that"};
    expect_problems(cfg, 5, checked);
    assert_string_equal(sy_error_message(), checked[0]);
    sy_config_destroy(cfg);
    cfg = fresh();
    char text[1024] = "[training]\n";
    for (int i = 0; i < 12; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "steps%c = 1\n", 'a' + i);
    assert_int_equal(load(cfg, text), SY_ERR_USAGE);
    int n;
    assert_string_equal(sy_config_problem(cfg, 9, &n),
                        "f.toml:11: training.stepsj: there is no such option: did you mean training.steps?");
    assert_null(sy_config_problem(cfg, 10, NULL));
    assert_int_equal(n, 12);
    assert_int_equal(load(cfg, "x = 1\n"), SY_ERR_USAGE); /* beyond the tenth a call still has an error */
    assert_int_equal(load(cfg, "x = \n"), SY_ERR_USAGE);
    sy_config_destroy(cfg);
}

/* --- a resume --- */

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

/* A config that lacks something names its file. */
static void test_missing(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"", "f.toml: is empty, it states no model: `switchyard init --flavor NAME` writes a config"},
        {"# a comment\n",
         "f.toml: is empty, it states no model: `switchyard init --flavor NAME` writes a config"},
        {"[model]\n", "f.toml: no model is stated: choose model.flavor (`switchyard info` lists them), or "
                      "state model.dim, "
                      "n_layers, n_heads, vocab_size and moe.num_experts"},
        {"[model]\ndim=32\nn_layers=2\nn_heads=2\n",
         "f.toml: model.vocab_size = 0: it must be given: state it, or choose model.flavor"},
        {"[model]\ndim=32\nn_layers=5\nn_dense_layers=2\ninter_dim=8\nn_heads=2\nvocab_size=272\nmoe_inter_"
         "dim=8\n",
         "f.toml: moe.num_experts = 0: 3 MoE layers need it: state how many, or set model.n_dense_layers = "
         "5"},
        {"[model]\ndim=32\nn_layers=5\nn_dense_layers=2\ninter_dim=8\nn_heads=2\nvocab_size=272\n[moe]"
         "\nnum_experts=4\n",
         "f.toml: model.moe_inter_dim = 0: 3 MoE layers need it: state the width of an expert"},
        {"[model]\ndim=32\nn_layers=5\nn_dense_layers=5\nn_heads=2\nvocab_size=272\n",
         "f.toml: model.inter_dim = 0: model.n_dense_layers = 5 needs it: state the width of the dense "
         "layers"},
        {"[model]\nflavor=\"micro_gqa\"\n[moe]\nnum_expert_groups=4\n",
         "f.toml: moe.num_limited_groups = 0: moe.num_expert_groups = 4 needs it: choose 1 to 4"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sy_config *cfg = fresh();
        must(load(cfg, rows[i].text));
        assert_int_equal(sy_config_finish(cfg, false), SY_ERR_USAGE);
        assert_string_equal(sy_error_message(), rows[i].message);
        sy_config_destroy(cfg);
    }
}

/* What was meant: the last part of a key, what others call it, then the nearest. */
static void test_meant(void **state) {
    (void)state;
    static const struct {
        const char *name, *meant;
    } rows[] = {
        {"steps", "training.steps"},
        {"lr", "optimizer.lr"},
        {"top-k", "moe.top_k"},
        {"learning_rate", "optimizer.lr"},
        {"training.learning-rate", "optimizer.lr"},
        {"batch_size", "training.global_batch_size"},
        {"validatin.steps", "validation.steps"},
        {"model.num_experts_per_tok", "moe.top_k"},
        {"sep_len", NULL},
        {"zzz", NULL},
        {"model.hidden_size", "model.dim"},
        {"seed", "debug.seed"},
        {"checkpoint.enabel", NULL},
        {"enable", "checkpoint.enable"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *meant = sy_option_meant(rows[i].name);
        if (!rows[i].meant != !meant || (meant && strcmp(meant, rows[i].meant) != 0))
            fail_msg("%s: %s, must be %s", rows[i].name, meant ? meant : "none",
                     rows[i].meant ? rows[i].meant : "none");
    }
    expect_load("[training]\nlerning_rate = 1\n",
                "f.toml:2: training.lerning_rate: there is no such option: did you mean optimizer.lr?");
    expect_load("[optimizer]\nbatch-size = 1\n", "f.toml:2: optimizer.batch_size: there is no such option: "
                                                 "did you mean training.global_batch_size?");
    expect_finish(
        "qwen", "",
        "command line: model.flavor = \"qwen\": there is no such flavor: did you mean \"qwen3-30b-a3b\" or "
        "\"qwen3-235b-a22b\"?");
    expect_finish("DeepSeek-V3", "",
                  "command line: model.flavor = \"DeepSeek-V3\": there is no such flavor: did you mean "
                  "\"dsv3-671b\"?");
    expect_finish("Mixtral", "",
                  "command line: model.flavor = \"Mixtral\": there is no such flavor: did you mean "
                  "\"mixtral-8x7b\"?");
    static const struct {
        const char *theirs, *ours;
    } aliases[] = {
#define ALIAS(theirs, ours) {theirs, ours},
#include "config/aliases.def"
    };
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases;
         i++) { /* each leads to an option that there is, and is needed */
        const char *text;
        struct sy_config *cfg = fresh();
        must(sy_config_get(cfg, aliases[i].ours, &text));
        sy_config_destroy(cfg);
        assert_string_equal(sy_option_meant(aliases[i].theirs), aliases[i].ours);
    }
}

/* Routes of a forward pass have numbers of 32 bits; in a pass are at most the sequences of the batch. */
static void test_routes_of_a_pass(void **state) {
    (void)state;
    struct sy_config *cfg = fresh();
    must(flags(cfg,
               "--model.flavor=micro_gqa --training.seq_len=16777216 --training.local_batch_size=100 "
               "--training.global_batch_size=63",
               ""));
    must(sy_config_finish(cfg, false));
    sy_config_destroy(cfg);
    expect_finish(
        "micro_gqa",
        "--training.seq_len=16777216 --training.local_batch_size=100 --training.global_batch_size=64",
        "command line: training.local_batch_size = 100: 64 sequences of training.seq_len = 16777216 "
        "tokens, "
        "moe.top_k = 2: 2147483648 routes in a pass, there can be 2147483647: choose "
        "fewer or shorter sequences");
}

static void test_more_checks(void **state) {
    (void)state;
    expect_finish(
        "gqa-debug", "--model.n_kv_heads=3",
        "command line: model.n_kv_heads = 3: does not divide model.n_heads = 4: choose one that does");
    expect_finish("gqa-debug", "--model.head_dim=15",
                  "command line: model.head_dim = 15: rotary embedding turns pairs: choose an even number");
    expect_finish(
        "gqa-debug", "--model.n_heads=3 --model.head_dim=0 --model.n_kv_heads=3",
        "command line: model.n_heads = 3: does not divide model.dim = 256: choose one that does, or state "
        "model.head_dim");
    expect_finish(
        "micro_mla", "--model.qk_rope_head_dim=7",
        "command line: model.qk_rope_head_dim = 7: rotary embedding turns pairs: choose an even number");
    expect_finish(
        "micro_mla", "--model.n_dense_layers=3",
        "command line: model.n_dense_layers = 3: more than model.n_layers = 2: choose at most that");
    expect_finish(
        "micro_mla", "--model.vocab_size=100",
        "command line: model.vocab_size = 100: tokenizer.path = \"byte\" has 259 ids: choose at least that");
    expect_finish("micro_mla", "--validation.enable --data.holdout=0",
                  "command line: validation.enable = true: data.holdout = 0 holds nothing out: choose false, "
                  "a share such "
                  "as 0.01, or give validation.dataset_path");
    expect_finish(
        "micro_mla", "--activation_checkpoint.selective_ac_option=two",
        "command line: activation_checkpoint.selective_ac_option = \"two\": \"op\" is needed, or a number "
        "from 1, as in \"2\": every n-th layer is recomputed");
    expect_finish("micro_mla", "--run.device=cuda --numerics.class=x86",
                  "command line: numerics.class = \"x86\": run.device = \"cuda\" computes \"sm90\" only: "
                  "choose that, or run.device "
                  "= \"cpu\"");
    expect_finish("micro_mla", "--run.device=cuda --numerics.class=amx",
                  "command line: numerics.class = \"amx\": run.device = \"cuda\" computes \"sm90\" only: "
                  "choose that, or run.device "
                  "= \"cpu\"");
    expect_finish(
        "micro_mla", "--model.qk_norm=head",
        "command line: model.qk_norm = \"head\": attention = \"mla\" has its own norms: choose \"none\"");
    struct sy_config *cfg = fresh();
    must(load(cfg, "#\n[model]\nflavor = \"micro_gqa\"\n[moe]\n\ntop_k = 10\n"));
    assert_int_equal(sy_config_finish(cfg, false), SY_ERR_USAGE);
    assert_string_equal(sy_error_message(),
                        "f.toml:6: moe.top_k = 10: more than moe.num_experts = 8: choose at most that");
    assert_int_equal(sy_config_fail(cfg, "moe.top_k", "no %d", 3), SY_ERR_USAGE);
    assert_string_equal(sy_error_message(), "f.toml:6: moe.top_k = 10: no 3");
    sy_config_destroy(cfg);
}

/* ---- flavors ---- */

/* Every flavor finishes, and its shape is the published one (a few numbers of each). */
static void test_flavors(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int64_t vocab, dim, layers, dense, heads, experts, top_k, expert_dim, inter;
        enum sy_moe_score_func score;
        double scale, theta, eps, coeff;
    } rows[] = {
        {"micro_mla", 272, 32, 2, 1, 2, 8, 2, 32, 64, SY_SCORE_SIGMOID, 2.5, 1e4, 1e-6, 1e-3},
        {"micro_gqa", 272, 32, 2, 0, 2, 8, 2, 32, 0, SY_SCORE_SOFTMAX, 1, 1e4, 1e-5, 1e-3},
        {"dsv3-debug", 2048, 256, 6, 1, 16, 8, 3, 256, 1024, SY_SCORE_SOFTMAX, 1, 1e4, 1e-5, 1e-3},
        {"gqa-debug", 2048, 256, 6, 0, 4, 8, 3, 256, 0, SY_SCORE_SOFTMAX, 1, 1e4, 1e-6, 0},
        {"dsv3-16b", 102400, 2048, 27, 1, 16, 64, 6, 1408, 10944, SY_SCORE_SOFTMAX, 1, 1e4, 1e-6, 1e-3},
        {"dsv2-236b", 102400, 5120, 60, 1, 128, 160, 6, 1536, 12288, SY_SCORE_SOFTMAX, 16, 1e4, 1e-6, 0},
        {"dsv3-671b", 129280, 7168, 61, 3, 128, 256, 8, 2048, 18432, SY_SCORE_SIGMOID, 2.5, 1e4, 1e-6, 1e-3},
        {"moonlight-16b", 163840, 2048, 27, 1, 16, 64, 6, 1408, 11264, SY_SCORE_SIGMOID, 2.446, 5e4, 1e-5,
         1e-3},
        {"qwen3-30b-a3b", 151936, 2048, 48, 0, 32, 128, 8, 768, 0, SY_SCORE_SOFTMAX, 1, 1e6, 1e-6, 0},
        {"qwen3-235b-a22b", 151936, 4096, 94, 0, 64, 128, 8, 1536, 0, SY_SCORE_SOFTMAX, 1, 1e6, 1e-6, 0},
        {"olmoe-7b", 50304, 2048, 16, 0, 16, 64, 8, 1024, 0, SY_SCORE_SOFTMAX, 1, 1e4, 1e-5, 0},
        {"mixtral-8x7b", 32000, 4096, 32, 0, 32, 8, 2, 14336, 0, SY_SCORE_SOFTMAX, 1, 1e6, 1e-5, 0},
    };
    size_t n = 0;
    const char *about;
    while (sy_config_flavor((int)n, &about))
        n++;
    assert_int_equal(n, sizeof rows / sizeof *rows);
    for (size_t i = 0; i < n; i++) {
        struct sy_config *cfg = fresh();
        must(sy_config_set(cfg, SY_LAYER_FLAG, "command line", "model.flavor", rows[i].name));
        must(sy_config_finish(cfg, false));
        const struct sy_config_model *m = &cfg->model;
        assert_true(m->vocab_size == rows[i].vocab && m->dim == rows[i].dim && m->n_layers == rows[i].layers);
        assert_true(m->n_dense_layers == rows[i].dense && m->n_heads == rows[i].heads &&
                    m->moe_inter_dim == rows[i].expert_dim);
        assert_true(m->inter_dim == rows[i].inter && m->rope_theta == rows[i].theta &&
                    m->norm_eps == rows[i].eps);
        assert_true(cfg->moe.num_experts == rows[i].experts && cfg->moe.top_k == rows[i].top_k);
        assert_true(cfg->moe.score_func == rows[i].score && cfg->moe.route_scale == rows[i].scale);
        assert_true(cfg->moe.load_balance_coeff == rows[i].coeff);
        assert_true(m->rope == (m->attention == SY_ATTENTION_MLA ? SY_ROPE_PAIRS : SY_ROPE_HALVES));
        sy_config_destroy(cfg);
    }
}

/* ---- text ---- */

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
        cmocka_unit_test(test_defaults),      cmocka_unit_test(test_file),
        cmocka_unit_test(test_precedence),    cmocka_unit_test(test_finish_again),
        cmocka_unit_test(test_device),        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_flags),         cmocka_unit_test(test_empty_paths),
        cmocka_unit_test(test_flag_errors),   cmocka_unit_test(test_file_errors),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_neutral),
        cmocka_unit_test(test_checks),        cmocka_unit_test(test_more_checks),
        cmocka_unit_test(test_flavors),       cmocka_unit_test(test_print),
        cmocka_unit_test(test_configs),       cmocka_unit_test(test_init),
        cmocka_unit_test(test_init_comments), cmocka_unit_test(test_help),
        cmocka_unit_test(test_reference),     cmocka_unit_test(test_routes_of_a_pass),
        cmocka_unit_test(test_problems),      cmocka_unit_test(test_missing),
        cmocka_unit_test(test_meant),         cmocka_unit_test(test_inherit),
        cmocka_unit_test(test_keep_bias),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
