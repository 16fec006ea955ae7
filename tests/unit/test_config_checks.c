/* Checks between options: what does not go together is refused, with what to choose. */
#include "config_case.h"

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
    expect_finish("micro_mla", "--metrics.save_tb_folder=a/../../tb",
                  "command line: metrics.save_tb_folder = \"a/../../tb\": is not inside run.dir: choose a "
                  "relative path without ..");
    expect_finish("micro_mla", "--profiling.save_traces_folder=/traces",
                  "command line: profiling.save_traces_folder = \"/traces\": is not inside run.dir: choose a "
                  "relative path without ..");
    expect_finish(
        "micro_mla", "--profiling.save_memory_snapshot_folder=..",
        "command line: profiling.save_memory_snapshot_folder = \"..\": is not inside run.dir: choose "
        "a relative path without ..");
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checks),
        cmocka_unit_test(test_routes_of_a_pass),
        cmocka_unit_test(test_more_checks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
