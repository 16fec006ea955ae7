/* What is kept of a GPU's self-test: believed for the same GPU, driver, build and class alone, and from a
 * whole file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/build_id.h"
#include "train/selftest_kept.h"

static char room[64];
static const struct sy_cuda_about gpu = {.name = "Made-up", .uuid = "GPU-00000000-1", .driver = 13000};

static int set_up(void **state) {
    (void)state;
    snprintf(room, sizeof room, "/tmp/sy-kept-XXXXXX");
    return !mkdtemp(room) || setenv("XDG_CACHE_HOME", room, 1);
}

static int tear_down(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", room);
    return system(command);
}

static void of_this_gpu_alone(void **state) {
    (void)state;
    struct sy_cuda_about other = gpu;
    assert_false(sy_selftest_is_kept(&gpu, "sm90"));
    sy_selftest_keep(&gpu, "sm90");
    assert_true(sy_selftest_is_kept(&gpu, "sm90"));
    assert_false(sy_selftest_is_kept(&gpu, "x86"));
    other.driver = 13010;
    assert_false(sy_selftest_is_kept(&other, "sm90"));
    other = gpu;
    snprintf(other.uuid, sizeof other.uuid, "GPU-00000000-2");
    assert_false(sy_selftest_is_kept(&other, "sm90"));
}

static void another_build_or_a_broken_file(void **state) {
    (void)state;
    char path[128], text[1024], build[SY_BUILD_ID_CHARS];
    sy_selftest_keep(&gpu, "sm90");
    snprintf(path, sizeof path, "%s/switchyard/selftest-%s", room, gpu.uuid);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    sy_build_id(build);
    char *at = strstr(text, build);
    assert_true(strlen(build) >= 32 && at);
    for (int turn = 0; turn < 3; turn++) { /* another build, cut short, longer */
        at[3] ^= turn == 0;
        f = fopen(path, "w");
        fwrite(text, 1, turn == 1 ? n - 1 : n, f);
        if (turn == 2)
            fputs("x", f);
        fclose(f);
        at[3] ^= turn == 0;
        assert_false(sy_selftest_is_kept(&gpu, "sm90"));
    }
    sy_selftest_keep(&gpu, "sm90");
    assert_true(sy_selftest_is_kept(&gpu, "sm90"));
}

/* A place that cannot be written, or that is not absolute: nothing is kept, nothing fails. */
static void no_place(void **state) {
    (void)state;
    struct sy_cuda_about third = gpu;
    char file[256];
    snprintf(third.uuid, sizeof third.uuid, "GPU-00000000-3");
    snprintf(file, sizeof file, "%s/file", room);
    fclose(fopen(file, "w"));
    setenv("XDG_CACHE_HOME", file, 1);
    sy_selftest_keep(&third, "sm90");
    assert_false(sy_selftest_is_kept(&third, "sm90"));
    setenv("XDG_CACHE_HOME", "relative", 1);
    setenv("HOME", room, 1);
    sy_selftest_keep(&third, "sm90");
    assert_true(sy_selftest_is_kept(&third, "sm90"));
    snprintf(file, sizeof file, "%s/.cache/switchyard/selftest-%s", room, third.uuid);
    assert_int_equal(access(file, R_OK), 0);
    assert_int_not_equal(access("relative", F_OK), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(of_this_gpu_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_build_or_a_broken_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_place, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
