/* diff of runs whose metrics.jsonl came from elsewhere: what cannot be compared is refused, never called equal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "switchyard.h"

static char room[64], run[2][96], file[2][256];

static int set_up(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(room, sizeof room, "%s/sy-diff-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    if (!mkdtemp(room))
        return 1;
    for (int i = 0; i < 2; i++) {
        snprintf(run[i], sizeof run[i], "%s/%d", room, i);
        snprintf(file[i], sizeof file[i], "%s/metrics.jsonl", run[i]);
        if (mkdir(run[i], 0700) != 0)
            return 1;
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        unlink(file[i]);
        rmdir(run[i]);
    }
    return rmdir(room);
}

static void write_line(int i, long long step, const char *digest) {
    FILE *f = fopen(file[i], "w");
    assert_non_null(f);
    fprintf(f,
            "{\"kind\":\"train\",\"step\":%lld,\"loss_bits\":\"402015dd2e495b82\",\"grad_norm_bits\":\"400f8f31e3b008f2\","
            "\"weights_digest\":\"%s\"}\n",
            step, digest);
    assert_int_equal(fclose(f), 0);
}

static sy_status diff(long long step, const char *a, const char *b, int *equal) {
    struct sy_io io = {0};
    write_line(0, step, a);
    write_line(1, step, b);
    return sy_diff(run[0], run[1], &io, equal);
}

#define DIGEST "6cf3a0b7cc8c74962189ffdcb10fb083"

static void same_and_other(void **state) {
    (void)state;
    int equal = -1;
    assert_int_equal(diff(0, DIGEST, DIGEST, &equal), SY_OK);
    assert_int_equal(equal, 1);
    assert_int_equal(diff(0, DIGEST, "0cf3a0b7cc8c74962189ffdcb10fb083", &equal), SY_OK);
    assert_int_equal(equal, 0);
    assert_int_equal(diff(3, "", "", &equal), SY_OK);
    assert_int_equal(equal, 0);
}

static void negative_step(void **state) {
    (void)state;
    int equal = -1;
    assert_int_equal(diff(-5, DIGEST, "0", &equal), SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), "metrics.jsonl:1: step -5"));
}

/* Told apart only behind the length of a digest. */
static void long_value(void **state) {
    (void)state;
    int equal = -1;
    assert_int_equal(diff(5, DIGEST "1", DIGEST "2", &equal), SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), "metrics.jsonl:1: weights_digest has 33 characters"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_and_other), cmocka_unit_test(negative_step),
                                       cmocka_unit_test(long_value)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
