/* A metrics line that cannot be written ends the run, and what was trained up to there is saved: a run that
 * goes on from it has the bits of one that was not disturbed. The disk is full from one step on: the file of
 * the metrics becomes /dev/full.
 */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "switchyard.h"
#include "../lib/room.h"

enum { STEPS = 5, FULL_AFTER = 2 };

/* Whatever this process writes to a file of that name is lost from now on. */
static int fill_disk(const char *name) {
    DIR *d = opendir("/proc/self/fd");
    int full = open("/dev/full", O_WRONLY), filled = 0;
    if (!d || full < 0)
        return 0;
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
        char target[512];
        ssize_t n = readlinkat(dirfd(d), entry->d_name, target, sizeof target - 1);
        target[n > 0 ? n : 0] = 0;
        char *last = strrchr(target, '/');
        if (last && strcmp(last + 1, name) == 0)
            filled += dup2(full, atoi(entry->d_name)) >= 0;
    }
    closedir(d);
    close(full);
    return filled;
}

static void after_step(void *user, const struct sy_progress *progress) {
    int *filled = user;
    if (progress->step == FULL_AFTER && *filled < 0)
        *filled = fill_disk("metrics.jsonl");
}

/* filled: -1 for a disk that gets full, 0 for one that does not. */
static sy_status train(const char *run, int *filled, struct sy_train_summary *out) {
    char dir[300];
    struct sy_config *config;
    struct sy_io io = {.progress = after_step, .user = filled};
    snprintf(dir, sizeof dir, "%s/%s", room, run);
    assert_int_equal(sy_config_create(&config), SY_OK);
    const char *options[][2] = {
        {"model.flavor", "micro_gqa"}, {"training.dataset_path", "tests/data/prose.jsonl"},
        {"training.seq_len", "32"},    {"training.steps", "5"},
        {"numerics.class", "x86"},     {"run.dir", dir}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        assert_int_equal(sy_option_set(config, options[i][0], options[i][1]), SY_OK);
    sy_status status = sy_train(config, "x", &io, out);
    sy_config_destroy(config);
    return status;
}

static void what_was_trained_is_saved(void **state) {
    (void)state;
    struct sy_train_summary whole, cut, resumed;
    char saved[400];
    int no = 0, filled = -1;
    assert_int_equal(train("whole", &no, &whole), SY_OK);
    assert_int_equal(train("cut", &filled, &cut), SY_ERR_IO);
    assert_int_equal(filled, 1);
    assert_non_null(strstr(sy_error_message(), "metrics.jsonl: cannot be written"));
    snprintf(saved, sizeof saved, "%s/cut/checkpoints/step-%08d", room, FULL_AFTER + 1);
    assert_int_equal(access(saved, F_OK), 0);
    assert_int_equal(train("cut", &no, &resumed), SY_OK);
    assert_string_equal(resumed.weights_digest, whole.weights_digest);
    assert_int_equal(resumed.step, STEPS);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_was_trained_is_saved)};
    if (access("/dev/full", W_OK) != 0 || access("/proc/self/fd", R_OK) != 0)
        return 0; /* not Linux */
    return cmocka_run_group_tests(tests, open_room, close_room);
}
