/* diff: the first step, tensor and element that differ, and no other; of runs whose metrics.jsonl came
 * from elsewhere, what cannot be compared is refused, never called equal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fmath.h"
#include "formats/safetensors.h"
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
            "{\"kind\":\"train\",\"step\":%lld,\"loss_bits\":\"402015dd2e495b82\",\"grad_norm_bits\":"
            "\"400f8f31e3b008f2\","
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

/* --- tensors -------------------------------------------------------------------------------------------- */

enum { ROWS = 3, COLUMNS = 7, BIG = 100000 };

static char said[8192];

static void say(void *user, const char *text, size_t n) {
    (void)user;
    size_t used = strlen(said);
    n = n < sizeof said - 1 - used ? n : sizeof said - 1 - used;
    memcpy(said + used, text, n);
    said[used + n] = 0;
}

/* A folder's file: "big" [BIG] F32 of 1.0 but for one element, "small" [ROWS, COLUMNS] F32, "halves" [4]
 * F16. */
static void write_tensors(int i, int64_t big_at, float big, const float *small, const uint16_t *halves) {
    struct sy_safetensors_writer *w;
    const int64_t dims[] = {BIG, ROWS, COLUMNS, 4};
    static float ones[BIG];
    char path[256];
    snprintf(path, sizeof path, "%s/model.safetensors", run[i]);
    unlink(path);
    for (int64_t k = 0; k < BIG; k++)
        ones[k] = k == big_at ? big : 1;
    assert_int_equal(sy_safetensors_writer_open(path, &w), SY_OK);
    assert_int_equal(sy_safetensors_writer_declare(w, "big", SY_SAFETENSORS_F32, 1, dims), SY_OK);
    assert_int_equal(sy_safetensors_writer_declare(w, "halves", SY_SAFETENSORS_F16, 1, dims + 3), SY_OK);
    assert_int_equal(sy_safetensors_writer_declare(w, "small", SY_SAFETENSORS_F32, 2, dims + 1), SY_OK);
    assert_int_equal(sy_safetensors_writer_write(w, ones, sizeof ones), SY_OK);
    assert_int_equal(sy_safetensors_writer_write(w, halves, 8), SY_OK);
    assert_int_equal(sy_safetensors_writer_write(w, small, sizeof(float) * ROWS * COLUMNS), SY_OK);
    assert_int_equal(sy_safetensors_writer_finish(w, 0, NULL), SY_OK);
}

static int diff_tensors(void) {
    struct sy_io io = {.write = say};
    int equal = -1;
    *said = 0;
    for (int i = 0; i < 2; i++)
        unlink(file[i]);
    assert_int_equal(sy_diff(run[0], run[1], &io, &equal), SY_OK);
    return equal;
}

static void tells(const char *line) {
    if (!strstr(said, line))
        fail_msg("%s\nlacks: %s", said, line);
}

/* The first element that differs, whatever stands behind it, with both bit patterns; NaN are one value,
 * zeros are two. */
static void first_element(void **state) {
    (void)state;
    const uint16_t h[4] = {1, 2, 3, 4}, other_h[4] = {1, 2, 3, 5};
    float x[ROWS * COLUMNS], y[ROWS * COLUMNS];
    for (int i = 0; i < ROWS * COLUMNS; i++)
        x[i] = y[i] = (float)i;
    x[2] = sy_f32_from_bits(0x7fc00001);
    y[2] = sy_f32_from_bits(0xffc01234);
    write_tensors(0, -1, 0, x, h);
    write_tensors(1, -1, 0, y, h);
    assert_int_equal(diff_tensors(), 1);
    tells("0 of 3 tensors differ\n");
    for (int at = 0; at < ROWS * COLUMNS; at += 5) {
        char want[200];
        float kept = y[at];
        y[at] = at == 0 ? -0.0f : at == 5 ? sy_f32_from_bits(0x7fc00000) : 0.5f;
        y[ROWS * COLUMNS - 1] += 1;
        write_tensors(1, -1, 0, y, h);
        assert_int_equal(diff_tensors(), 0);
        snprintf(want, sizeof want, "tensor small, element %d (row %d, column %d)\n  %08x ", at, at / COLUMNS,
                 at % COLUMNS, sy_f32_bits(x[at]));
        tells(want);
        snprintf(want, sizeof want, "\n  %08x ", sy_f32_bits(y[at]));
        tells(want);
        tells("1 of 3 tensors differ\n");
        y[ROWS * COLUMNS - 1] -= 1;
        y[at] = kept;
    }
    static const int64_t places[] = {0, 16383, 16384, 16385,
                                     BIG - 1}; /* the edge of what is read at a time */
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char want[80];
        write_tensors(1, places[i], 1.5f, x, other_h);
        assert_int_equal(diff_tensors(), 0);
        snprintf(want, sizeof want, "tensor big, element %lld\n  3f800000 1\n  3fc00000 1.5\n",
                 (long long)places[i]);
        tells(want);
        tells("tensor halves, element 3\n");
        tells("2 of 3 tensors differ\n");
    }
}

static void write_one(int i, const char *name, enum sy_safetensors_dtype type, int n_dims, int64_t dim) {
    struct sy_safetensors_writer *w;
    const int64_t dims[] = {dim, 1};
    char path[256], zeros[64] = "";
    snprintf(path, sizeof path, "%s/model.safetensors", run[i]);
    unlink(path);
    assert_int_equal(sy_safetensors_writer_open(path, &w), SY_OK);
    assert_int_equal(sy_safetensors_writer_declare(w, name, type, n_dims, dims), SY_OK);
    zeros[1] = (char)(i + 1);
    assert_int_equal(
        sy_safetensors_writer_write(w, zeros, (size_t)(dim * sy_safetensors_dtype_bits(type) / 8)), SY_OK);
    assert_int_equal(sy_safetensors_writer_finish(w, 0, NULL), SY_OK);
}

/* What only one has counts once, and never are there more that differ than there are. */
static void other_tensors(void **state) {
    (void)state;
    write_one(0, "a", SY_SAFETENSORS_F32, 1, 2);
    write_one(1, "b", SY_SAFETENSORS_F32, 1, 2);
    assert_int_equal(diff_tensors(), 0);
    tells("tensor a is only in the first\n");
    tells("tensor b is only in the second\n");
    tells("2 of 2 tensors differ\n");
    write_one(1, "a", SY_SAFETENSORS_F32, 1, 3);
    assert_int_equal(diff_tensors(), 0);
    tells("tensor a has another shape or dtype\n");
    tells("1 of 1 tensors differ\n");
    write_one(1, "a", SY_SAFETENSORS_F32, 2, 2);
    assert_int_equal(diff_tensors(), 0);
    tells("tensor a has another shape or dtype\n");
    write_one(1, "a", SY_SAFETENSORS_I32, 1, 2);
    assert_int_equal(diff_tensors(), 0);
    tells("tensor a has another shape or dtype\n");
    for (int i = 0; i < 2; i++)
        write_one(i, "a", SY_SAFETENSORS_F4, 1, 6); /* two to a byte: the byte is named */
    assert_int_equal(diff_tensors(), 0);
    tells("tensor a, element 1\n");
    char path[256];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/model.safetensors", run[i]);
        unlink(path);
    }
}

/* Which of the three values is named, and the first of the steps. */
static void first_step(void **state) {
    (void)state;
    static const char *const keys[] = {"loss_bits", "grad_norm_bits", "weights_digest"};
    struct sy_io io = {.write = say};
    for (int k = 0; k < 3; k++) {
        int equal = -1;
        for (int i = 0; i < 2; i++) {
            FILE *f = fopen(file[i], "w");
            assert_non_null(f);
            for (int step = 4; step >= 1; step--) /* in any order */
                if (i == 0 || step != 1)
                    fprintf(f,
                            "{\"kind\":\"train\",\"step\":%d,\"loss_bits\":\"%d\",\"grad_norm_bits\":\"%d\","
                            "\"weights_digest\":\"%d\"}\n{\"kind\":\"eval\",\"step\":%d,\"loss_bits\":\"%d\"}"
                            "\n",
                            step, k == 0 && i && step > 2, k == 1 && i && step > 2, k == 2 && i && step > 2,
                            step, i);
            assert_int_equal(fclose(f), 0);
        }
        *said = 0;
        assert_int_equal(sy_diff(run[0], run[1], &io, &equal), SY_OK);
        assert_int_equal(equal, 0);
        tells("step 3 differs\n");
        assert_null(strstr(said, "step 2 differs"));
        assert_null(strstr(said, "step 4 differs"));
        for (int q = 0; q < 3; q++)
            assert_true((strstr(said, keys[q]) != NULL) == (q == k));
    }
}

/* A path that does not fit is refused, whichever it is. */
static void long_paths(void **state) {
    (void)state;
    static char path[5000];
    struct sy_io io = {0};
    int equal;
    memset(path, 'x', 4096);
    assert_int_equal(sy_diff(path, run[1], &io, &equal), SY_ERR_USAGE);
    assert_int_equal(sy_diff(run[0], path, &io, &equal), SY_ERR_USAGE);
    assert_int_equal(sy_diff(path, path, &io, &equal), SY_ERR_USAGE);
    assert_int_equal(sy_inspect(path, &io), SY_ERR_IO);
    assert_non_null(strstr(sy_error_message(), "there is no such file"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_and_other), cmocka_unit_test(negative_step),
                                       cmocka_unit_test(long_value),     cmocka_unit_test(first_step),
                                       cmocka_unit_test(first_element),  cmocka_unit_test(other_tensors),
                                       cmocka_unit_test(long_paths)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
