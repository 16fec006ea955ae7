/* The checkpoints of a run beside each other: the newest stay, leftovers go, and a run that has none. */
#include "ckpt_case.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keep_latest),
        cmocka_unit_test(test_replace_and_leftovers),
        cmocka_unit_test(test_nothing_there),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder) != 0;
}
