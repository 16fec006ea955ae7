/* scatter_add and fold_rows: every tier, class and number of threads with == against one loop; the order of
 * the adds shows; the adjoint of taking rows; and the public form with its rule of sharing memory, whose
 * refusals name both byte ranges.
 */
#include "ops_harness.h"

#include <inttypes.h>

#include "moe/dispatch.h"

/* Rows fall on few rows of out, or on many; src stored or fp32; gaps between rows stay. The index names
 * rows or routes, rows of padding are skipped, and fewer rows than n may be used. */
static void one_case(struct lab *l, int64_t n, int64_t d, enum regime r) {
    int64_t out_rows = 1 + below(below(2) ? 3 : 2 * n), out_row = d + below(3), src_row = d + below(3),
            with_scale = below(2);
    int64_t top_k = below(2) ? 0 : 1 + below(4), padding = below(2), used = below(2) ? n : below(n + 1),
            with_used = below(2);
    enum sy_dtype t = below(2) ? SY_F32 : l->x.dtype;
    struct buf src = buf_new(l, "src", t, n * src_row, r),
               out = buf_new(l, "out", SY_F32, out_rows * out_row, r);
    struct buf index = buf_i32(l, "index", n), scale = buf_new(l, "scale", SY_F32, n, r);
    for (int64_t i = 0; i < n; i++)
        set_both_i32(index, i,
                     padding && below(3) == 0 ? -1 : (int32_t)below(out_rows * (top_k ? top_k : 1)));
    l->x.ops->scatter_add(&l->x, &(struct sy_scatter_add){n, d, out_rows, with_used ? &used : NULL, index.got,
                                                          top_k, with_scale ? scale.got : NULL,
                                                          mat_of(src, src_row), mat_of(out, out_row)});
    for (int64_t i = 0; i < (with_used ? used : n); i++)
        for (int64_t j = 0; i32_of(index.want)[i] >= 0 && j < d; j++) {
            int64_t at = i32_of(index.want)[i] / (top_k ? top_k : 1) * out_row + j;
            put(l, out, at,
                fmaf(with_scale ? take(scale, i) : 1.0f, take(src, i * src_row + j), take(out, at)));
        }
    lab_check(l, "scatter_add");
}

/* Each row that is named is added once, however often it is named, and is +0 afterwards; the other rows
 * stay. */
static void fold_case(struct lab *l, int64_t n, int64_t d, enum regime r) {
    int64_t rows = 1 + below(below(2) ? 3 : 2 * n), with_y = below(3);
    struct buf x = buf_new(l, "x", SY_F32, rows * d, r), y = buf_new(l, "y", SY_F32, rows * d, r);
    struct buf index = buf_i32(l, "index", n);
    for (int64_t i = 0; i < rows * d; i++) { /* sums that began at +0 are never -0 */
        set_both(x, i, take(x, i) + 0.0f);
        set_both(y, i, take(y, i) + 0.0f);
    }
    for (int64_t i = 0; i < n; i++)
        set_both_i32(index, i, (int32_t)below(rows));
    l->x.ops->fold_rows(&l->x, &(struct sy_fold_rows){n, d, index.got, x.got, with_y ? y.got : NULL});
    for (int64_t row = 0; row < rows; row++) {
        int named = 0;
        for (int64_t i = 0; i < n; i++)
            named |= i32_of(index.want)[i] == row;
        for (int64_t j = row * d; named && j < (row + 1) * d; j++) {
            if (with_y)
                put(l, y, j, take(y, j) + take(x, j));
            put(l, x, j, 0.0f);
        }
    }
    lab_check(l, "fold_rows");
}

static void cases(struct lab *l) {
    shapes_each(l, one_case);
    for (int j = 0; j < 6; j++)
        one_case(l, 900, 20 + 13 * j, PLAIN); /* rows of out shared by the threads, and columns */
    one_case(l, 20000, 1, PLAIN);
}

static void folds(struct lab *l) {
    shapes_each(l, fold_case);
    fold_case(l, 900, 50, PLAIN);
    fold_case(l, 20000, 1, PLAIN);
}

static void test_fold_rows(void **state) {
    (void)state;
    labs_each(folds);
}

static void test_definition(void **state) {
    (void)state;
    labs_each(cases);
}

/* Controls: descending rows, and a product rounded before the add, give other bits. */
static void test_order_shows(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { N = 50, D = 40, R = 3 };
    float src[N * D], scale[N], out[R * D] = {0}, down[R * D] = {0}, rounded[R * D] = {0};
    int32_t index[N];
    int differs[2] = {0, 0};
    for (int i = 0; i < N * D; i++)
        src[i] = random_value(PLAIN);
    for (int i = 0; i < N; i++) {
        scale[i] = uniform();
        index[i] = (int32_t)below(R);
    }
    l.x.ops->scatter_add(&l.x,
                         &(struct sy_scatter_add){N, D, R, NULL, index, 0, scale, sy_mat_of(src, SY_F32, D),
                                                  sy_mat_of(out, SY_F32, D)});
    for (int i = 0; i < N; i++)
        for (int j = 0; j < D; j++) {
            float *a = &rounded[index[i] * D + j], *b = &down[index[N - 1 - i] * D + j];
            volatile float product = scale[i] * src[i * D + j];
            *a = *a + product;
            *b = fmaf(scale[N - 1 - i], src[(N - 1 - i) * D + j], *b);
        }
    for (int i = 0; i < R * D; i++) {
        differs[0] += !same_f32(out[i], down[i]);
        differs[1] += !same_f32(out[i], rounded[i]);
    }
    assert_true(differs[0] > R * D / 4 && differs[1] > R * D / 4);
    lab_close(&l);
}

/* --- the public form ------------------------------------------------------------------------------------ */

static void says(const char *text) {
    if (!strstr(sy_error_message(), text))
        fail_msg("the message is \"%s\", not one with \"%s\"", sy_error_message(), text);
}

/* Both byte ranges of `a` and `b` are in the message. */
static void names_ranges(const void *a, size_t a_bytes, const void *b, size_t b_bytes) {
    char text[80];
    snprintf(text, sizeof text, "0x%" PRIxPTR " to 0x%" PRIxPTR, (uintptr_t)a, (uintptr_t)a + a_bytes);
    says(text);
    snprintf(text, sizeof text, "0x%" PRIxPTR " to 0x%" PRIxPTR, (uintptr_t)b, (uintptr_t)b + b_bytes);
    says(text);
}

enum { N = 5, D = 3, R = 4 };

static void test_public(void **state) {
    (void)state;
    float src[N * D], scale[N] = {1, 2, 3, 4, 5}, base[R * D], out[R * D], want[R * D] = {0};
    int32_t index[N] = {2, 0, 2, 3, 2};
    for (int i = 0; i < N * D; i++)
        src[i] = (float)(i + 1);
    for (int i = 0; i < R * D; i++)
        base[i] = (float)(100 * i);
    for (int i = 0; i < N * D; i++)
        want[index[i / D] * D + i % D] += src[i];
    assert_int_equal(sy_scatter_add(src, index, NULL, N, D, NULL, R, out), SY_OK);
    assert_memory_equal(out, want, sizeof out);
    assert_int_equal(sy_scatter_add(src, index, scale, N, D, base, R, out), SY_OK);
    memcpy(want, base, sizeof want);
    for (int i = 0; i < N * D; i++)
        want[index[i / D] * D + i % D] += scale[i / D] * src[i];
    assert_memory_equal(out, want, sizeof out);
    memcpy(out, base, sizeof out); /* in place: the same */
    assert_int_equal(sy_scatter_add_in_place(src, index, scale, N, D, base, sizeof base, R, out), SY_OK);
    assert_memory_equal(out, want, sizeof out);
    for (int i = 0; i < 2; i++) {
        index[3] = i ? R : -1;
        assert_int_equal(sy_scatter_add(src, index, NULL, N, D, NULL, R, out), SY_ERR_USAGE);
        says(i ? "index 3 is 4: must be 0 to 3" : "index 3 is -1: must be 0 to 3");
        assert_memory_equal(out, want, sizeof out); /* nothing written */
    }
    assert_int_equal(sy_scatter_add(src, index, NULL, 0, D, NULL, R, out), SY_OK);
    for (int i = 0; i < R * D; i++)
        assert_true(out[i] == 0.0f);
    assert_int_equal(sy_scatter_add(src, index, NULL, -1, D, NULL, R, out), SY_ERR_USAGE);
    assert_int_equal(sy_scatter_add(src, index, NULL, INT64_MAX / 2, D, NULL, R, out), SY_ERR_USAGE);
    assert_int_equal(sy_scatter_add(src, index, NULL, 3, D, NULL, 0, out), SY_ERR_USAGE);
}

/* One block of memory, and out at every place relative to what it must not touch. */
static void test_sharing(void **state) {
    (void)state;
    enum { BYTES = R * D * 4, SRC = N * D * 4, FLOATS = 60 };
    float block[FLOATS], before[FLOATS], other[N * D] = {0};
    int32_t index[N] = {0, 1, 2, 3, 0};
    int refused = 0, done = 0;
    for (int at = 0; at + R * D <= FLOATS; at++) { /* protect: floats 20 to 34 */
        for (int i = 0; i < FLOATS; i++)
            before[i] = block[i] = (float)i;
        int apart = at + R * D <= 20 || at >= 35;
        sy_status got = sy_scatter_add_in_place(other, index, NULL, N, D, block + 20, SRC, R, block + at);
        assert_int_equal(got, apart ? SY_OK : SY_ERR_USAGE);
        assert_memory_equal(block, before, sizeof block);
        if (!apart)
            names_ranges(block + at, BYTES, block + 20, SRC);
        assert_int_equal(sy_scatter_add_in_place(other, index, NULL, N, D, block + 20, 0, R, block + at),
                         SY_OK);
        got = sy_scatter_add(block + 20, index, NULL, N, D, NULL, R, block + at); /* src there */
        assert_int_equal(got, apart ? SY_OK : SY_ERR_USAGE);
        if (!apart) {
            says("src");
            names_ranges(block + at, BYTES, block + 20, SRC);
            assert_memory_equal(block, before, sizeof block);
        }
        refused += !apart;
        done += apart;
    }
    assert_true(refused == 26 && done > 10); /* from 12 before its start to its last float */
    float *out = block + 20;
    assert_int_equal(sy_scatter_add(other, (int32_t *)(void *)(out + 11), NULL, 1, D, NULL, R, out),
                     SY_ERR_USAGE);
    says("index");
    assert_int_equal(sy_scatter_add(other, index, out + 3, N, D, NULL, R, out), SY_ERR_USAGE);
    says("scale");
    assert_int_equal(sy_scatter_add(other, index, NULL, N, D, out - 11, R, out), SY_ERR_USAGE);
    says("base");
    assert_int_equal(sy_scatter_add(other, index, NULL, N, D, out, R, out),
                     SY_ERR_USAGE); /* that is in place */
}

/* The check by itself, in bytes. */
static void test_check(void **state) {
    (void)state;
    char m[64] = {0};
    assert_int_equal(
        sy_scatter_add_check(&(struct sy_scatter_memory){{m, 16}, {m + 16, 16}, {m + 32, 16}, {m + 48, 16}}),
        SY_OK);
    assert_int_equal(
        sy_scatter_add_check(&(struct sy_scatter_memory){{m + 16, 16}, {m, 16}, {NULL, 0}, {NULL, 0}}),
        SY_OK);
    assert_int_equal(
        sy_scatter_add_check(&(struct sy_scatter_memory){{m, 17}, {m + 16, 16}, {m + 32, 16}, {m + 48, 16}}),
        SY_ERR_USAGE);
    assert_int_equal(
        sy_scatter_add_check(&(struct sy_scatter_memory){{m + 20, 1}, {m, 16}, {m + 32, 16}, {m + 16, 16}}),
        SY_ERR_USAGE);
    names_ranges(m + 20, 1, m + 16, 16);
    assert_int_equal(
        sy_scatter_add_check(&(struct sy_scatter_memory){{m + 20, 0}, {m, 16}, {m + 32, 16}, {m + 16, 16}}),
        SY_OK);
    assert_int_equal(
        sy_scatter_add_check(&(struct sy_scatter_memory){{m, 40}, {NULL, 16}, {m + 39, 16}, {NULL, 16}}),
        SY_ERR_USAGE);
    says("index");
}

/* The question agrees with the check at every place, and asking leaves the thread's message alone. */
static void test_question(void **state) {
    (void)state;
    enum { OUT = 8, OTHER = 5, BYTES = 40 };
    char m[BYTES];
    int yes = 0;
    for (int at = 0; at + OTHER <= BYTES; at++)
        for (int which = 0; which < 3; which++)
            for (size_t n = 0; n <= OTHER; n += OTHER) {
                const void *there[3] = {NULL, NULL, NULL};
                there[which] = m + at;
                sy_status want = sy_scatter_add_check(
                    &(struct sy_scatter_memory){{m + 16, OUT}, {there[0], n}, {there[1], n}, {there[2], n}});
                sy_fail(SY_ERR_IO, "kept");
                assert_int_equal(sy_scatter_add_overlaps(&(struct sy_scatter_memory){
                                     {m + 16, OUT}, {there[0], n}, {there[1], n}, {there[2], n}}),
                                 want != SY_OK);
                assert_string_equal(sy_error_message(), "kept");
                yes += want != SY_OK;
            }
    assert_int_equal(yes, 3 * (OUT + OTHER - 1));
}

/* A combine by scatter-add that may not write in place goes another way: no failure, so no message. */
static void test_no_failure_no_message(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    float rows[2] = {3, 4}, y[2], spare[2], scale[2];
    int32_t ids[2] = {0, 0}, row[2], route[2];
    int64_t offset[2], n_tiles;
    struct sy_tile tile[1];
    struct sy_dispatch d = {.rows = 2,
                            .experts = 1,
                            .top_k = 1,
                            .offset = offset,
                            .row = row,
                            .route = route,
                            .tile = tile,
                            .n_tiles = &n_tiles};
    struct sy_moe_counters counters = {0};
    struct sy_scatter s = {.scale = scale, .spare = spare, .protect = y, .protect_bytes = sizeof y};
    sy_dispatch_sort(&l.x, &d, 1, 2, ids);
    sy_fail(SY_ERR_IO, "kept");
    struct sy_dispatch_sum sum = {
        .width = 1, .rows = sy_mat_of(rows, SY_F32, 1), .y = sy_mat_of(y, SY_F32, 1)};
    sy_dispatch_scatter(&l.x, &d, &sum, &s, &counters);
    assert_int_equal(counters.scatter_add, 1);
    assert_true(y[0] == 3 && y[1] == 4);
    assert_string_equal(sy_error_message(), "kept");
    lab_close(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definition),  cmocka_unit_test(test_fold_rows),
        cmocka_unit_test(test_order_shows), cmocka_unit_test(test_public),
        cmocka_unit_test(test_sharing),     cmocka_unit_test(test_check),
        cmocka_unit_test(test_question),    cmocka_unit_test(test_no_failure_no_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
