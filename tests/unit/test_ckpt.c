/* Checkpoints: round trip, equal bytes, and what a manifest keeps of the run. */
#include "ckpt_case.h"

static void check_round_trip(const char *flavor, int64_t max_bytes, int min_files) {
    struct model x = make_model(flavor), y = make_model(flavor);
    char path[SY_CKPT_PATH_BYTES], digest[SY_DIGEST_CHARS];
    save(&x, "round", 3, 0, max_bytes, path);
    struct sy_ckpt *c = NULL;
    assert_int_equal(sy_ckpt_open(path, 1, &c), SY_OK);
    const struct sy_ckpt_info *info = sy_ckpt_info(c);
    assert_int_equal(info->step, 3);
    assert_int_equal(info->next_sequence, 24);
    assert_int_equal(info->seed, 42);
    if (c->manifest.files.n < min_files)
        fail_msg("%d files, at least %d were expected", c->manifest.files.n, min_files);
    size_t bytes = 4 * (size_t)flat_size(x.params);
    memset(y.w, 0xff, bytes);
    memset(y.m, 0xff, bytes);
    memset(y.v, 0xff, bytes);
    struct sy_ckpt_store store = store_of(&y);
    struct sy_ckpt_target target = {y.params, &store, 1};
    assert_int_equal(sy_ckpt_load(c, &target, NULL, digest), SY_OK);
    assert_string_equal(digest, info->weights_digest);
    for (int i = 0; i < x.params->n_tensors; i++) {
        const struct sy_tensor *t = &x.params->tensor[i];
        assert_memory_equal(x.w + flat_at(x.params, t), y.w + flat_at(x.params, t), 4 * (size_t)t->n);
        if (flat_is_buffer(x.params, t))
            continue;
        assert_memory_equal(x.m + flat_at(x.params, t), y.m + flat_at(x.params, t), 4 * (size_t)t->n);
        assert_memory_equal(x.v + flat_at(x.params, t), y.v + flat_at(x.params, t), 4 * (size_t)t->n);
    }
    assert_int_equal(sy_ckpt_recipe_check(c, y.config), SY_OK);
    y.config->numerics.expert_lanes = 2;
    assert_int_equal(sy_ckpt_recipe_check(c, y.config), SY_ERR_USAGE);
    assert_non_null(strstr(sy_error_message(), "expert_lanes 1 there, 2 now"));
    sy_ckpt_close(c);
    free_model(&x);
    free_model(&y);
    remove_run("round");
}

static void test_round_trip(void **unused) {
    (void)unused;
    check_round_trip("micro_mla", 0, 6);
    check_round_trip("micro_mla", 40000, 20);
    check_round_trip("micro_mla", 1, 100); /* a file per tensor */
    check_round_trip("micro_gqa", 0, 6);
}

static void test_shard_size(void **unused) {
    (void)unused;
    struct model x = make_model("micro_mla");
    char path[SY_CKPT_PATH_BYTES];
    save(&x, "size", 1, 0, 50000, path);
    struct sy_ckpt *c = NULL;
    assert_int_equal(sy_ckpt_open(path, 1, &c), SY_OK);
    for (int i = 0; i < c->manifest.files.n; i++)
        if (strstr(c->manifest.files.item[i].name, ".safetensors") &&
            !strstr(c->manifest.files.item[i].name, "index"))
            assert_true(c->manifest.files.item[i].bytes <= 50000);
    sy_ckpt_close(c);
    free_model(&x);
    remove_run("size");
}

/* The same state, saved where layout differs, gives the same bytes in every file. */
static void test_equal_bytes(void **unused) {
    (void)unused;
    struct model x = make_model("micro_mla");
    char a[SY_CKPT_PATH_BYTES], b[SY_CKPT_PATH_BYTES];
    save(&x, "one", 5, 0, 100000, a);
    x.config->run.threads = 7;
    x.config->training.local_batch_size = 1;
    x.config->run.dir = "elsewhere";
    save(&x, "two", 5, 0, 100000, b);
    assert_true(same_files(a, b) > 10);
    free_model(&x);
    remove_run("one");
    remove_run("two");
}

/* Data state, trainer's state and the chain of recipes come back. */
static void test_manifest_fields(void **unused) {
    (void)unused;
    struct model x = make_model("micro_gqa");
    struct sy_ckpt_store store = store_of(&x);
    struct sy_ckpt_state state = state_of(&x, &store, 6);
    struct sy_ckpt_save_options options = {0};
    char path[SY_CKPT_PATH_BYTES], id[SY_CKPT_HASH_CHARS];
    const char *former[] = {"0123456789abcdef0123456789abcdef", "ffffffffffffffffffffffffffffffff"};
    json_t *data = json_pack("{s:[], s:i}", "files", "documents", 3),
           *trainer = json_pack("{s:i}", "skipped", 2);
    state.former_recipes = former;
    state.n_former_recipes = 2;
    state.data_fingerprint = data;
    state.trainer = trainer;
    assert_int_equal(sy_ckpt_save(run_of("fields"), &state, &options, path), SY_OK);
    struct sy_ckpt *c = NULL;
    assert_int_equal(sy_ckpt_open(path, 1, &c), SY_OK);
    const struct sy_ckpt_info *info = sy_ckpt_info(c);
    assert_true(json_equal(info->data_fingerprint, data));
    assert_true(json_equal(info->trainer, trainer));
    assert_int_equal(info->n_former_recipes, 2);
    assert_string_equal(info->former_recipes[1], former[1]);
    assert_int_equal(sy_ckpt_recipe_id(x.config, id), SY_OK);
    assert_string_equal(id, info->recipe_id);
    struct sy_config *again = NULL; /* the saved text loads to the same answer */
    assert_int_equal(sy_config_create(&again), SY_OK);
    assert_int_equal(sy_config_load_text(again, "saved", info->config, strlen(info->config)), SY_OK);
    assert_int_equal(sy_config_finish(again, false), SY_OK);
    assert_int_equal(again->model.dim, x.config->model.dim);
    assert_null(strstr(info->config, "threads"));
    sy_config_destroy(again);
    sy_ckpt_close(c);
    json_decref(data);
    json_decref(trainer);
    free_model(&x);
    remove_run("fields");
}

/* A resume without any [model] or [numerics] takes both from the checkpoint; what was stated stays. */
static void test_config_of_checkpoint(void **unused) {
    (void)unused;
    struct model x = make_model("micro_mla");
    struct sy_config *config = NULL;
    struct sy_ckpt *c = NULL;
    char path[SY_CKPT_PATH_BYTES], id[SY_CKPT_HASH_CHARS];
    static const char stated[] = "[numerics]\ncombine_groups = 4\n";
    x.config->numerics.lanes = 2;
    x.config->numerics.class = SY_CLASS_FP32;
    x.config->training.seq_len = 64;
    save(&x, "config", 1, 0, 0, path);
    for (int state = 0; state < 2; state++) {
        assert_int_equal(sy_config_create(&config), SY_OK);
        if (state)
            assert_int_equal(sy_config_load_text(config, "f", stated, strlen(stated)), SY_OK);
        assert_int_equal(sy_ckpt_open(path, 1, &c), SY_OK);
        assert_int_equal(sy_ckpt_config(c, 1, config), SY_OK);
        assert_int_equal(sy_config_finish(config, false), SY_OK);
        assert_int_equal(config->numerics.lanes, 2);
        assert_int_equal(config->numerics.class, SY_CLASS_FP32);
        assert_int_equal(config->training.seq_len, 64);
        assert_int_equal(config->model.kv_lora_rank, 16);
        assert_int_equal(config->moe.num_limited_groups, 2);
        assert_int_equal(sy_ckpt_recipe_id(config, id), SY_OK);
        assert_int_equal(strcmp(id, sy_ckpt_info(c)->recipe_id) == 0, !state);
        assert_int_equal(sy_ckpt_recipe_check(c, config), state ? SY_ERR_USAGE : SY_OK);
        sy_ckpt_close(c);
        sy_config_destroy(config);
    }
    free_model(&x);
    remove_run("config");
}

/* The recipe id of a config does not change by accident. */
static void test_recipe_id_is_stable(void **unused) {
    (void)unused;
    struct model x = make_model("micro_gqa");
    char id[SY_CKPT_HASH_CHARS], other[SY_CKPT_HASH_CHARS];
    assert_int_equal(sy_ckpt_recipe_id(x.config, id), SY_OK);
    assert_string_equal(id, "c89742a2048a1fd32b43f2959cf477f0");
    x.config->run.threads = 3;
    assert_int_equal(sy_ckpt_recipe_id(x.config, other), SY_OK);
    assert_string_equal(id, other);
    x.config->numerics.cell = 2;
    assert_int_equal(sy_ckpt_recipe_id(x.config, other), SY_OK);
    assert_string_not_equal(id, other);
    free_model(&x);
}

/* A whole checkpoint of another model. */
static void test_wrong_model(void **unused) {
    (void)unused;
    struct model x = make_model("micro_mla"), y = make_model("micro_gqa");
    struct sy_ckpt *c = NULL;
    char path[SY_CKPT_PATH_BYTES];
    save(&x, "other", 1, 0, 0, path);
    assert_int_equal(sy_ckpt_open(path, 1, &c), SY_OK);
    struct sy_ckpt_store store = store_of(&y);
    struct sy_ckpt_target target = {y.params, &store, 1};
    assert_int_equal(sy_ckpt_load(c, &target, NULL, NULL), SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), "tensor \""));
    sy_ckpt_close(c);
    free_model(&x);
    free_model(&y);
    remove_run("other");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),           cmocka_unit_test(test_shard_size),
        cmocka_unit_test(test_equal_bytes),          cmocka_unit_test(test_manifest_fields),
        cmocka_unit_test(test_config_of_checkpoint), cmocka_unit_test(test_recipe_id_is_stable),
        cmocka_unit_test(test_wrong_model),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder) != 0;
}
