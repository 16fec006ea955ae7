/* A save that cannot be: an error, nothing half-written, the older checkpoint whole. */
#include "ckpt_case.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_disk_full),    cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_digest_known), cmocka_unit_test(test_unreadable_state),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder) != 0;
}
