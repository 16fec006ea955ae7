/* Every result of fsync, rename, fflush, fclose and, where metrics.jsonl is parted, fwrite of a run counts:
 * each call that fails, one at a time, ends the run with an error that names a file of it, and a run that
 * goes on ends with the bits of one that was not disturbed.
 *
 * The run under test goes back two steps, so that metrics.jsonl is parted, routes are written, and two
 * checkpoints.
 */
#include <dlfcn.h>
#include <errno.h>
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

static char room[128];

/* --- faults ----------------------------------------------------------------------------------- */

enum call { FSYNC, RENAME, FFLUSH, FCLOSE, FWRITE, CALLS };
static const char *const names[CALLS] = {"fsync", "rename", "fflush", "fclose", "fwrite"};

static enum call faulty = CALLS;
static int countdown, happened;

/* log.txt is for people: a line that is lost there is no reason to stop. */
static int concerns(const char *path) {
    size_t n = strlen(path);
    return *room && strncmp(path, room, strlen(room)) == 0 &&
           !(n > 8 && strcmp(path + n - 8, "/log.txt") == 0);
}

static int fails_now(enum call call, const char *path) {
    if (call != faulty || !concerns(path) || --countdown != 0)
        return 0;
    happened = 1;
    errno = EIO;
    return 1;
}

static const char *path_of(int fd, char path[512]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, 511);
    path[n > 0 ? n : 0] = 0;
    return path;
}

static int fails_for(enum call call, int fd) {
    char path[512];
    return fails_now(call, path_of(fd, path));
}

static int is_written(FILE *f) { return (fcntl(fileno(f), F_GETFL) & O_ACCMODE) != O_RDONLY; }

/* ISO C has no pointer from an object to a function. */
static void *next(const char *name, void *function) {
    void *found = dlsym(RTLD_NEXT, name);
    memcpy(function, &found, sizeof found);
    return found;
}

/* No power is cut here: nothing waits for the disk. */
int fsync(int fd) { return fails_for(FSYNC, fd) ? -1 : 0; }
int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *);
    return fails_now(RENAME, to) || !next("rename", &real) ? -1 : real(from, to);
}
int fflush(FILE *f) {
    int (*real)(FILE *);
    if (!next("fflush", &real))
        return EOF;
    int rc = real(f);
    return f && is_written(f) && fails_for(FFLUSH, fileno(f)) ? EOF : rc;
}
int fclose(FILE *f) {
    int (*real)(FILE *);
    int fails = is_written(f) && fails_for(FCLOSE, fileno(f));
    return !next("fclose", &real) || real(f) != 0 || fails ? EOF : 0;
}

/* Elsewhere a stream's error flag is asked, which a call that does nothing cannot set. */
size_t fwrite(const void *data, size_t size, size_t n, FILE *f) {
    size_t (*real)(const void *, size_t, size_t, FILE *);
    char path[512];
    if (faulty == FWRITE && strstr(path_of(fileno(f), path), "/metrics.jsonl.") && fails_now(FWRITE, path))
        return 0;
    return next("fwrite", &real) ? real(data, size, n, f) : 0;
}

/* --- runs ------------------------------------------------------------------------------------- */

static sy_status train(const char *run, struct sy_train_summary *out) {
    char dir[200], routes[200];
    struct sy_config *config;
    struct sy_io io = {0};
    snprintf(dir, sizeof dir, "%s/%s", room, run);
    snprintf(routes, sizeof routes, "%s/%s/routes", room, run);
    const char *options[][2] = {
        {"model.flavor", "micro_gqa"},
        {"training.dataset_path", "tests/data/prose.jsonl"},
        {"training.seq_len", "32"},
        {"training.global_batch_size", "8"},
        {"numerics.class", "x86"},
        {"run.threads", "1"},
        {"metrics.enable_report", "false"}, /* its failures do not count: test_report */
        {"checkpoint.interval", "1"},
        {"checkpoint.keep_latest_k", "0"},
        {"validation.enable", "true"},
        {"metrics.moe_counters", "true"},
        {"training.steps", "4"},
        {"moe.routes_out", routes},
        {"run.dir", dir}};
    assert_int_equal(sy_config_create(&config), SY_OK);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        assert_int_equal(sy_option_set(config, options[i][0], options[i][1]), SY_OK);
    sy_status status = sy_train(config, "x", &io, out);
    sy_config_destroy(config);
    return status;
}

static void shell(const char *format) {
    char command[1024];
    snprintf(command, sizeof command, format, room, room, room, room);
    assert_int_equal(system(command), 0);
}

/* 1 if there was an n-th call, which failed. */
static int nth_call_fails(enum call call, int n, const char *digest) {
    struct sy_train_summary out;
    shell("rm -rf '%s/run' && cp -r '%s/prepared' '%s/run'");
    faulty = call;
    countdown = n;
    happened = 0;
    sy_status status = train("run", &out);
    faulty = CALLS;
    if (!happened) {
        assert_int_equal(status, SY_OK);
        assert_string_equal(out.weights_digest, digest);
        return 0;
    }
    if (status != SY_ERR_IO)
        fail_msg("%s %d fails: status %d, %s", names[call], n, status,
                 status == SY_OK ? "ok" : sy_error_message());
    if (!strstr(sy_error_message(), room))
        fail_msg("%s %d fails: no file is named: %s", names[call], n, sy_error_message());
    if (n % 4 != 1) /* one in four goes on */
        return 1;
    assert_int_equal(train("run", &out), SY_OK);
    if (strcmp(out.weights_digest, digest) != 0)
        fail_msg("%s %d fails: the run that goes on ends with other bits", names[call], n);
    return 1;
}

static void every_failure_counts(void **state) {
    (void)state;
    struct sy_train_summary out;
    const char *quick = getenv("QUICK");
    int stride = quick && *quick ? 5 : 1;
    assert_int_equal(train("prepared", &out), SY_OK);
    shell("rm -r '%s/prepared/checkpoints/step-00000003' '%s/prepared/checkpoints/step-00000004'");
    for (enum call call = 0; call < CALLS; call++) {
        int n = 1;
        while (nth_call_fails(call, n, out.weights_digest))
            n += stride;
        if (n < 4)
            fail_msg("only %d calls of %s", n - 1, names[call]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_failure_counts)};
    const char *tmp = getenv("TMPDIR");
    if (access("/proc/self/fd", R_OK) != 0)
        return 0; /* not Linux */
    snprintf(room, sizeof room, "%s/sy-io-XXXXXX", tmp && strlen(tmp) < 60 ? tmp : "/tmp");
    if (!mkdtemp(room))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    shell("rm -rf '%s'");
    return failed != 0;
}
