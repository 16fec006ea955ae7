/* What is wrong in a config, in words: where, what, and what was meant; all of it at once; options of others
 * that are refused. */
#include "config_case.h"

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
    assert_int_equal(load(cfg, "[model]\nname = \"deepseek_v3\"\nflavor = \"debugmodel\"\n[job]\n"
                               "dump_folder = \"o\"\n[parallelism]\ntensor_parallel_degree = 1\n"),
                     SY_ERR_USAGE);
    static const char *const refused[] = {
        "f.toml:3: model.flavor = \"debugmodel\": refused: use \"dsv3-debug\"",
        "f.toml:5: job.dump_folder = \"o\": refused: use run.dir",
        "f.toml:2: model.name = \"deepseek_v3\": refused: choose model.flavor, or state the dimensions"};
    expect_problems(cfg, 3, refused);
    assert_string_equal(sy_error_message(), refused[0]);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file_errors), cmocka_unit_test(test_refused), cmocka_unit_test(test_neutral),
        cmocka_unit_test(test_problems),    cmocka_unit_test(test_missing), cmocka_unit_test(test_meant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
