/* The values of a config: defaults, a file, which layer is the stronger, rules, the device, flavors. */
#include "config_case.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),     cmocka_unit_test(test_file),   cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_finish_again), cmocka_unit_test(test_device), cmocka_unit_test(test_rules),
        cmocka_unit_test(test_flavors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
