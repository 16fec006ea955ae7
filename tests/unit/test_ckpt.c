/* Checkpoints: round trip, equal bytes, and every way in which a file can be broken. */
#include "ckpt_case.h"

/* ---- tests ---- */

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

static void test_keep_latest(void **unused) {
    (void)unused;
    struct model x = make_model("micro_gqa");
    struct sy_ckpt_steps steps;
    char path[1024];
    for (int64_t step = 1; step <= 6; step++)
        save(&x, "keep", step, 3, 0, NULL);
    snprintf(path, sizeof path, "%s/checkpoints", run_of("keep"));
    assert_int_equal(sy_ckpt_steps_list(path, &steps), SY_OK);
    assert_int_equal(steps.n, 3);
    assert_int_equal(steps.step[0], 4);
    assert_int_equal(steps.step[2], 6);
    free(steps.step);
    assert_int_equal(count_entries(path), 3);
    save(&x, "keep", 5, 1, 0, NULL); /* going back: the one just written stays, and what lies ahead */
    assert_int_equal(sy_ckpt_steps_list(path, &steps), SY_OK);
    assert_int_equal(steps.n, 2);
    assert_int_equal(steps.step[0], 5);
    free(steps.step);
    for (int i = 0; i < 3; i++)
        save(&x, "keep", 7 + i, 0, 0, NULL);
    assert_int_equal(count_entries(path), 5);
    free_model(&x);
    remove_run("keep");
}

/* A folder of the same step, damaged, is replaced; dead saves and half-removed folders go. */
static void test_replace_and_leftovers(void **unused) {
    (void)unused;
    struct model x = make_model("micro_gqa");
    char path[SY_CKPT_PATH_BYTES], file[SY_CKPT_PATH_BYTES + 100], top[1024];
    save(&x, "left", 2, 0, 0, path);
    snprintf(file, sizeof file, "%s/config.json", path);
    assert_int_equal(truncate(file, 3), 0);
    snprintf(top, sizeof top, "%s/checkpoints", run_of("left"));
    snprintf(file, sizeof file, "%s/.tmp-step-00000009", top);
    assert_int_equal(mkdir(file, 0777), 0);
    snprintf(file, sizeof file, "%s/.tmp-step-00000009/optimizer", top);
    assert_int_equal(mkdir(file, 0777), 0);
    snprintf(file, sizeof file, "%s/.tmp-step-00000009/optimizer/x", top);
    spill(file, "x", 1);
    snprintf(file, sizeof file, "%s/.tmp-old-step-00000001", top);
    assert_int_equal(symlink("/tmp", file), 0); /* removed itself, never followed */
    struct sy_ckpt *c = NULL;
    assert_int_equal(sy_ckpt_find_latest(run_of("left"), NULL, NULL, &c), SY_ERR_DATA);
    save(&x, "left", 2, 0, 0, path);
    assert_int_equal(count_entries(top), 1);
    assert_int_equal(access("/tmp", F_OK), 0);
    assert_int_equal(sy_ckpt_find_latest(run_of("left"), NULL, NULL, &c), SY_OK);
    assert_non_null(c);
    sy_ckpt_close(c);
    free_model(&x);
    remove_run("left");
}

static void test_nothing_there(void **unused) {
    (void)unused;
    struct sy_ckpt *c = (void *)1;
    assert_int_equal(sy_ckpt_find_latest(run_of("nowhere"), NULL, NULL, &c), SY_OK);
    assert_null(c);
    assert_int_equal(sy_ckpt_any(run_of("nowhere")), 0);
    assert_int_equal(sy_ckpt_open(run_of("nowhere"), 0, &c), SY_ERR_IO);
}

static void test_every_corruption(void **unused) {
    (void)unused;
    struct model x = make_model("micro_gqa"), y = make_model("micro_gqa");
    char path[SY_CKPT_PATH_BYTES];
    save(&x, "broken", 1, 0, 200000, NULL);
    save(&x, "broken", 2, 0, 200000, path);
    assert_int_equal(latest("broken"), 2);
    corrupt_every_file(&y, path);
    assert_int_equal(latest("broken"), 2);
    free_model(&x);
    free_model(&y);
    remove_run("broken");
}

/* Every single bit of the manifest. */
static void test_every_bit_of_manifest(void **unused) {
    (void)unused;
    struct model x = make_model("micro_gqa");
    char path[SY_CKPT_PATH_BYTES], file[SY_CKPT_PATH_BYTES + 100];
    save(&x, "bits", 1, 0, 0, path);
    snprintf(file, sizeof file, "%s/%s", path, SY_CKPT_MANIFEST);
    size_t n = 0;
    char *text = slurp(file, &n);
    struct sy_ckpt_manifest manifest;
    for (size_t bit = 0; bit < 8 * n; bit++) {
        text[bit / 8] ^= (char)(1 << bit % 8);
        if (sy_ckpt_manifest_parse("m", text, n, &manifest) != SY_ERR_DATA)
            fail_msg("bit %zu of byte %zu: accepted", bit % 8, bit / 8);
        sy_ckpt_manifest_free(&manifest);
        text[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < n; cut++) {
        assert_int_equal(sy_ckpt_manifest_parse("m", text, cut, &manifest), SY_ERR_DATA);
        sy_ckpt_manifest_free(&manifest);
    }
    assert_int_equal(sy_ckpt_manifest_parse("m", text, n, &manifest), SY_OK);
    sy_ckpt_manifest_free(&manifest);
    free(text);
    free_model(&x);
    remove_run("bits");
}

static void test_all_damaged(void **unused) {
    (void)unused;
    struct model x = make_model("micro_gqa");
    char path[SY_CKPT_PATH_BYTES], file[SY_CKPT_PATH_BYTES + 100];
    for (int64_t step = 1; step <= 2; step++) {
        save(&x, "all", step, 0, 0, path);
        snprintf(file, sizeof file, "%s/%s", path, SY_CKPT_MANIFEST);
        assert_int_equal(unlink(file), 0);
    }
    assert_int_equal(latest("all"), -SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), "none of 2 checkpoints is whole"));
    free_model(&x);
    remove_run("all");
}

/* A folder that was renamed to another step is not that step. */
static void test_wrong_step(void **unused) {
    (void)unused;
    struct model x = make_model("micro_gqa");
    char path[SY_CKPT_PATH_BYTES], other[1024];
    save(&x, "renamed", 4, 0, 0, path);
    snprintf(other, sizeof other, "%s/checkpoints/step-00000099", run_of("renamed"));
    assert_int_equal(rename(path, other), 0);
    assert_int_equal(latest("renamed"), -SY_ERR_DATA);
    assert_non_null(strstr(lines, "is of step 4"));
    free_model(&x);
    remove_run("renamed");
}

/* A full disk at many places: an error, no folder, the older checkpoint whole. */
static void test_disk_full(void **unused) {
    (void)unused;
    struct model x = make_model("micro_gqa");
    char top[1024];
    struct rlimit old, small;
    save(&x, "full", 1, 0, 0, NULL);
    snprintf(top, sizeof top, "%s/checkpoints", run_of("full"));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t limit = 0; limit < 300000; limit = limit * 2 + 100) {
        struct sy_ckpt_store store = store_of(&x);
        struct sy_ckpt_state state = state_of(&x, &store, 2);
        struct sy_ckpt_save_options options = {.keep_latest_k = 1};
        small = old;
        small.rlim_cur = limit;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        sy_status status = sy_ckpt_save(run_of("full"), &state, &options, NULL);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_int_equal(status, SY_ERR_IO);
        assert_non_null(strstr(sy_error_message(), "cannot write"));
        assert_int_equal(count_entries(top), 1);
    }
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(latest("full"), 1);
    free_model(&x);
    remove_run("full");
}

static void test_read_only(void **unused) {
    (void)unused;
    struct model x = make_model("micro_gqa");
    struct sy_ckpt_store store = store_of(&x);
    struct sy_ckpt_state state = state_of(&x, &store, 1);
    struct sy_ckpt_save_options options = {0};
    assert_int_equal(sy_ckpt_save("/proc/nowhere", &state, &options, NULL), SY_ERR_IO); /* refuses root too */
    assert_non_null(strstr(sy_error_message(), "/proc/nowhere"));
    if (geteuid() != 0) {
        assert_int_equal(mkdir(run_of("ro"), 0555), 0);
        assert_int_equal(sy_ckpt_save(run_of("ro"), &state, &options, NULL), SY_ERR_IO);
        assert_non_null(strstr(sy_error_message(), "Permission denied"));
        remove_run("ro");
    }
    spill(run_of("file"), "x", 1);
    assert_int_equal(sy_ckpt_save(run_of("file"), &state, &options, NULL), SY_ERR_IO);
    assert_int_equal(unlink(run_of("file")), 0);
    free_model(&x);
}

static void test_digest_known(void **unused) {
    (void)unused;
    struct model x = make_model("micro_gqa");
    struct sy_ckpt_store store = store_of(&x);
    struct sy_ckpt_state state = state_of(&x, &store, 1);
    struct sy_ckpt_save_options options = {0};
    char top[1024];
    state.weights_digest = "00000000000000000000000000000001";
    assert_int_equal(sy_ckpt_save(run_of("known"), &state, &options, NULL), SY_ERR_RUNTIME);
    snprintf(top, sizeof top, "%s/checkpoints", run_of("known"));
    assert_int_equal(count_entries(top), 0);
    free_model(&x);
    remove_run("known");
}

/* A manifest that no reader would accept is never written. */
static void test_unreadable_state(void **unused) {
    (void)unused;
    struct model x = make_model("micro_gqa");
    struct sy_ckpt_store store = store_of(&x);
    struct sy_ckpt_state state = state_of(&x, &store, 1);
    struct sy_ckpt_save_options options = {0};
    const char *former[] = {"not an id"};
    state.former_recipes = former;
    state.n_former_recipes = 1;
    assert_int_equal(sy_ckpt_save(run_of("state"), &state, &options, NULL), SY_ERR_RUNTIME);
    assert_non_null(strstr(sy_error_message(), "does not read back"));
    assert_int_equal(latest("state"), 0);
    state.step = -1;
    assert_int_equal(sy_ckpt_save(run_of("state"), &state, &options, NULL), SY_ERR_USAGE);
    free_model(&x);
    remove_run("state");
}

/* What is too long or too late by one is refused with its bound; what just fits is taken. */
static void test_bounds(void **unused) {
    (void)unused;
    struct model x = make_model("micro_gqa");
    struct sy_ckpt_store store = store_of(&x);
    struct sy_ckpt_state state = state_of(&x, &store, SY_CKPT_MAX_STEP);
    struct sy_ckpt_save_options options = {0};
    char name[SY_CKPT_NAME_BYTES + 1], path[SY_CKPT_PATH_BYTES + 1], out[SY_CKPT_PATH_BYTES];
    assert_int_equal(sy_ckpt_save(run_of("bounds"), &state, &options, out), SY_OK);
    assert_int_equal(latest("bounds"), SY_CKPT_MAX_STEP);
    state.step++;
    assert_int_equal(sy_ckpt_save(run_of("bounds"), &state, &options, NULL), SY_ERR_USAGE);
    state = state_of(&x, &store, 0);
    assert_int_equal(sy_ckpt_save(run_of("start"), &state, &options, NULL), SY_OK);
    state.next_sequence = -1;
    assert_int_equal(sy_ckpt_save(run_of("bounds"), &state, &options, NULL), SY_ERR_USAGE);
    static const int n_former[] = {-1, SY_CKPT_MAX_FORMER + 1};
    for (int i = 0; i < 2; i++) {
        state = state_of(&x, &store, 1);
        state.n_former_recipes = n_former[i];
        assert_int_equal(sy_ckpt_save(run_of("bounds"), &state, &options, NULL), SY_ERR_USAGE);
    }
    struct sy_ckpt_files files = {0};
    memset(name, 'a', sizeof name);
    name[SY_CKPT_NAME_BYTES - 1] = 0;
    assert_int_equal(sy_ckpt_files_add(&files, name, 1, "", 0), SY_OK);
    name[SY_CKPT_NAME_BYTES - 1] = 'a';
    name[SY_CKPT_NAME_BYTES] = 0;
    assert_int_equal(sy_ckpt_files_add(&files, name, 1, "", 0), SY_ERR_USAGE);
    assert_non_null(strstr(sy_error_message(), "at most 199 bytes"));
    assert_int_equal(files.n, 1);
    free(files.item);
    memset(path, 'a', sizeof path);
    path[SY_CKPT_PATH_BYTES - 3] = 0;
    assert_int_equal(sy_ckpt_join(out, path, "b"), SY_OK);
    assert_int_equal(sy_ckpt_join(out, path, "bc"), SY_ERR_USAGE);
    assert_non_null(strstr(sy_error_message(), "at most 4095 are possible"));
    free_model(&x);
    remove_run("bounds");
    remove_run("start");
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

/* ---- a folder without our manifest ---- */

/* Makes <run>/hf: config.json and one file with every tensor in `dtype`, but the expert bias. */
static void make_hugging_face(const struct model *x, const char *path, enum sy_safetensors_dtype dtype,
                              int break_shape, int skip) {
    struct sy_safetensors_writer *w = NULL;
    char file[1200], *json = NULL;
    size_t n = 0;
    snprintf(file, sizeof file, "%s/config.json", run_of("hfsource/checkpoints/step-00000001"));
    json = slurp(file, &n);
    assert_int_equal(mkdir(path, 0777), 0);
    snprintf(file, sizeof file, "%s/config.json", path);
    spill(file, json, n);
    free(json);
    snprintf(file, sizeof file, "%s/model.safetensors", path);
    assert_int_equal(sy_safetensors_writer_open(file, &w), SY_OK);
    for (int i = 0; i < x->params->n_tensors; i++) {
        const struct sy_tensor *t = &x->params->tensor[x->params->by_name[i]];
        int64_t dims[2] = {t->dims[0], t->dims[1]};
        if (i == break_shape && t->n_dims == 2)
            dims[0] = t->dims[1], dims[1] = t->dims[0];
        if (i != skip && !flat_is_buffer(x->params, t))
            assert_int_equal(sy_safetensors_writer_declare(w, t->name, dtype, t->n_dims, dims), SY_OK);
    }
    int64_t one = 1;
    assert_int_equal(sy_safetensors_writer_declare(w, "zz.unknown", dtype, 1, &one), SY_OK);
    for (int i = 0; i < x->params->n_tensors; i++) {
        const struct sy_tensor *t = &x->params->tensor[x->params->by_name[i]];
        if (i == skip || flat_is_buffer(x->params, t))
            continue;
        for (int64_t k = 0; k < t->n; k++) {
            uint32_t bits;
            memcpy(&bits, x->w + flat_at(x->params, t) + k, 4);
            uint16_t half = (uint16_t)(bits >> 16);
            assert_int_equal(dtype == SY_SAFETENSORS_F32 ? sy_safetensors_writer_write(w, &bits, 4)
                                                         : sy_safetensors_writer_write(w, &half, 2),
                             SY_OK);
        }
    }
    uint32_t zero = 0;
    assert_int_equal(sy_safetensors_writer_write(w, &zero, (size_t)sy_safetensors_dtype_bytes(dtype)), SY_OK);
    assert_int_equal(sy_safetensors_writer_finish(w, 0, NULL), SY_OK);
}

static void test_hugging_face(void **unused) {
    (void)unused;
    struct model x = make_model("micro_mla"), y = make_model("micro_mla");
    struct sy_ckpt *c = NULL;
    struct sy_ckpt_store store = store_of(&y);
    struct sy_ckpt_target target = {y.params, &store, 0};
    int matrix = 0; /* of different sides, by name */
    while (y.params->tensor[y.params->by_name[matrix]].n_dims != 2 ||
           y.params->tensor[y.params->by_name[matrix]].dims[0] ==
               y.params->tensor[y.params->by_name[matrix]].dims[1])
        matrix++;
    for (int64_t k = 0; k < flat_size(x.params); k++) { /* values that bf16 holds */
        uint32_t bits;
        memcpy(&bits, x.w + k, 4);
        bits &= 0xffff0000u;
        memcpy(x.w + k, &bits, 4);
    }
    save(&x, "hfsource", 1, 0, 0, NULL);
    static const enum sy_safetensors_dtype dtypes[] = {SY_SAFETENSORS_F32, SY_SAFETENSORS_BF16};
    for (int d = 0; d < 2; d++) {
        make_hugging_face(&x, run_of("hf"), dtypes[d], -1, -1);
        assert_int_equal(sy_ckpt_open(run_of("hf"), 1, &c), SY_ERR_DATA);
        assert_int_equal(sy_ckpt_open(run_of("hf"), 0, &c), SY_OK);
        assert_false(sy_ckpt_info(c)->has_manifest);
        memset(y.w, 0xff, 4 * (size_t)flat_size(y.params));
        lines[0] = 0;
        assert_int_equal(sy_ckpt_load(c, &target, &log_lines, NULL), SY_OK);
        assert_non_null(strstr(lines, "e_score_correction_bias"));
        assert_non_null(strstr(lines, "zz.unknown"));
        for (int i = 0; i < x.params->n_tensors; i++) {
            const struct sy_tensor *t = &x.params->tensor[i];
            for (int64_t k = flat_at(x.params, t), end = k + t->n; k < end; k++)
                assert_true(y.w[k] == (!flat_is_buffer(x.params, t) ? x.w[k] : 0.0f));
        }
        struct sy_ckpt_target moments = {y.params, &store, 1};
        assert_int_equal(sy_ckpt_load(c, &moments, NULL, NULL), SY_ERR_USAGE);
        sy_ckpt_close(c);
        remove_run("hf");
    }
    make_hugging_face(&x, run_of("hf"), SY_SAFETENSORS_F32, matrix, -1);
    assert_int_equal(sy_ckpt_open(run_of("hf"), 0, &c), SY_OK);
    assert_int_equal(sy_ckpt_load(c, &target, NULL, NULL), SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), "has shape"));
    sy_ckpt_close(c);
    remove_run("hf");
    make_hugging_face(&x, run_of("hf"), SY_SAFETENSORS_F32, -1, matrix);
    assert_int_equal(sy_ckpt_open(run_of("hf"), 0, &c), SY_OK);
    assert_int_equal(sy_ckpt_load(c, &target, NULL, NULL), SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), "in none of the files"));
    sy_ckpt_close(c);
    remove_run("hf");
    remove_run("hfsource");
    free_model(&x);
    free_model(&y);
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

static void inspect_write(void *user, const char *text, size_t n) { fwrite(text, 1, n, user); }

static void test_inspect(void **unused) {
    (void)unused;
    struct model x = make_model("micro_gqa");
    char path[SY_CKPT_PATH_BYTES], file[SY_CKPT_PATH_BYTES + 100];
    save(&x, "inspect", 1, 0, 0, path);
    char *out = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&out, &n);
    assert_int_equal(sy_ckpt_inspect(path, inspect_write, f), SY_OK);
    fflush(f);
    assert_non_null(strstr(out, "model.layers.1.mlp.experts.7.up_proj.weight"));
    assert_non_null(strstr(out, "weights digest recomputed: ok"));
    snprintf(file, sizeof file, "%s/model-00001-of-00001.safetensors", path);
    size_t bytes = 0;
    char *text = slurp(file, &bytes);
    text[bytes - 3] ^= 8;
    spill(file, text, bytes);
    assert_int_equal(sy_ckpt_inspect(path, inspect_write, f), SY_ERR_DATA);
    assert_int_equal(sy_ckpt_inspect(file, inspect_write, f),
                     SY_ERR_DATA); /* the file alone: by the tensor's own hash */
    assert_non_null(strstr(sy_error_message(), "model.norm.weight"));
    text[bytes - 3] ^= 8;
    char *name = strstr(text + 8, "model.norm"); /* in the header */
    name[6] = 'w';
    spill(file, text, bytes);
    assert_int_equal(sy_ckpt_inspect(path, inspect_write, f), SY_ERR_DATA);
    fflush(f);
    assert_non_null(strstr(out, "the damage is in the header"));
    assert_int_equal(sy_ckpt_inspect(run_of("nowhere"), inspect_write, f), SY_ERR_IO);
    fclose(f);
    free(out);
    free(text);
    free_model(&x);
    remove_run("inspect");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_shard_size),
        cmocka_unit_test(test_equal_bytes),
        cmocka_unit_test(test_keep_latest),
        cmocka_unit_test(test_replace_and_leftovers),
        cmocka_unit_test(test_nothing_there),
        cmocka_unit_test(test_every_corruption),
        cmocka_unit_test(test_every_bit_of_manifest),
        cmocka_unit_test(test_all_damaged),
        cmocka_unit_test(test_wrong_step),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_digest_known),
        cmocka_unit_test(test_unreadable_state),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_manifest_fields),
        cmocka_unit_test(test_config_of_checkpoint),
        cmocka_unit_test(test_recipe_id_is_stable),
        cmocka_unit_test(test_hugging_face),
        cmocka_unit_test(test_wrong_model),
        cmocka_unit_test(test_inspect),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder) != 0;
}
