/* Deterministic top-k and its backward: every tier, class and number of threads with == against a sort of the
 * whole row (value descending, id ascending), up to 4096 columns and any k; the order of ties, of zeros and
 * of infinities; wrong tie rules that must show; and the public form, whose errors name what is wrong.
 */
#include "ops_harness.h"

enum { N_MAX = 4096 };

/* What sorting says. Rows with a NaN: ids 0 .. k-1. Returns the lowest such row, or -1. */
static int64_t define(const struct sy_topk *op, int32_t *ids) {
    struct item *item = must_alloc((size_t)op->n * sizeof *item);
    int64_t bad = -1;
    for (int64_t r = 0; r < op->rows; r++, ids += op->k) {
        const float *x = op->x + r * op->n;
        int nan = has_nan(op->n, x);
        bad = nan && bad < 0 ? r : bad;
        for (int64_t i = 0; i < op->n; i++)
            item[i] = (struct item){op->smallest ? -x[i] : x[i], (int32_t)i};
        if (!nan)
            qsort(item, (size_t)op->n, sizeof *item, better_first);
        for (int64_t j = 0; j < op->k; j++)
            ids[j] = item[j].id;
        if (!nan && !op->sorted)
            qsort(ids, (size_t)op->k, sizeof *ids, ascending);
    }
    free(item);
    return bad;
}

static void one_case(struct lab *l, int64_t rows, int64_t n, int64_t k, enum regime r, int kinds) {
    int64_t with_values = below(3), bad = -7;
    struct buf x = buf_new(l, "x", SY_F32, rows * n, r), v = buf_new(l, "values", SY_F32, rows * k, SPECIAL);
    struct buf ids = buf_i32(l, "ids", rows * k), dx = buf_new(l, "dx", SY_F32, rows * n, SPECIAL);
    struct buf dv = buf_new(l, "dvalues", SY_F32, rows * k, r);
    for (int64_t i = 0; kinds > 0 && i < x.n; i++) /* few kinds of values: ties */
        set_both(x, i, (float)(below(kinds) - kinds / 2) * (below(2) ? 1.0f : -1.0f));
    struct sy_topk op = {rows,    n,   k, (int)below(2), (int)below(2), x.got, with_values ? v.got : NULL,
                         ids.got, &bad};
    l->x.ops->topk(&l->x, &op);
    assert_int_equal(bad, define(&op, ids.want));
    l->x.ops->topk_bwd(&l->x, &(struct sy_topk_bwd){rows, n, k, ids.got, dv.got, dx.got});
    memset(dx.want, 0, (size_t)dx.n * sizeof(float));
    for (int64_t i = 0; i < rows * k; i++) {
        int64_t at = i / k * n + i32_of(ids.want)[i];
        put(l, dx, at, take(dv, i));
        if (with_values)
            put(l, v, i, take(x, at));
    }
    lab_check(l, "topk or topk_bwd");
}

static void shape(struct lab *l, int64_t rows, int64_t n, enum regime r) {
    one_case(l, rows, n, 1 + below(n < 80 ? n : 80), r, 0);
}

static void cases(struct lab *l) {
    shapes_each(l, shape);
    for (int kinds = 1; kinds < 5; kinds++)
        for (int64_t k = 1; k < 70; k += 1 + below(12))
            one_case(l, 3, 70 + below(200), k, PLAIN, kinds);
    one_case(l, 5, N_MAX, 64, PLAIN, 0);
    one_case(l, 3, N_MAX, 64, PLAIN, 7);
    one_case(l, 2, N_MAX, 1, SPECIAL, 0);
    one_case(l, 2, N_MAX, N_MAX, PLAIN, 100);
    one_case(l, 2, N_MAX, 1000, TINY, 0);
}

static void test_definition(void **state) {
    (void)state;
    labs_each(cases);
}

/* Every number of 1 to n of rows that rise, fall and stay: each path of the choice, insertion and heap. */
static void test_every_k(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { N = 100 };
    float x[3 * N];
    int32_t ids[3 * N];
    int64_t bad;
    for (int i = 0; i < N; i++) {
        x[i] = (float)i;
        x[N + i] = (float)-i;
        x[2 * N + i] = 1.0f;
    }
    for (int64_t k = 1; k <= N; k++) {
        l.x.ops->topk(&l.x, &(struct sy_topk){3, N, k, 0, 1, x, NULL, ids, &bad});
        for (int64_t j = 0; j < k; j++)
            assert_true(ids[j] == N - 1 - j && ids[k + j] == j && ids[2 * k + j] == j);
    }
    lab_close(&l);
}

static void test_ties_and_nan(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    float x[3][6] = {{1, 1, 1, 1, 1, 1}, {-0.0f, 0.0f, -0.0f, 0.0f, -1, -0.0f}, {2, NAN, 7, 1, NAN, 3}};
    int32_t ids[3][4];
    int64_t bad;
    struct sy_topk op = {.rows = 3, .n = 6, .k = 4, .sorted = 1, .x = x[0], .ids = ids[0], .bad_row = &bad};
    l.x.ops->topk(&l.x, &op);
    for (int j = 0; j < 4; j++) {
        assert_int_equal(ids[0][j], j); /* all tied: the lowest ids */
        assert_int_equal(ids[1][j], j); /* zeros of both signs are equal */
    }
    assert_int_equal(bad, 2);
    op.rows = 2;
    l.x.ops->topk(&l.x, &op);
    assert_int_equal(bad, -1);
    lab_close(&l);
}

/* K = n takes all; smallest of a tie is the lowest id too; best first or by id; infinities are ordinary
 * values. */
static void test_order(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    float x[7] = {3, -INFINITY, 3, -0.0f, INFINITY, 0.0f, -INFINITY}, values[7];
    static const int32_t best[7] = {4, 0, 2, 3, 5, 1, 6}, least[7] = {1, 6, 3, 5, 0, 2, 4};
    int32_t ids[7], sorted[7];
    int64_t bad;
    for (int smallest = 0; smallest < 2; smallest++)
        for (int k = 1; k <= 7; k++) {
            const int32_t *want = smallest ? least : best;
            struct sy_topk op = {1, 7, k, smallest, 1, x, values, ids, &bad};
            l.x.ops->topk(&l.x, &op);
            assert_memory_equal(ids, want, (size_t)k * sizeof *ids);
            for (int j = 0; j < k; j++)
                assert_int_equal(bits_of(values[j]), bits_of(x[want[j]]));
            op.sorted = 0;
            l.x.ops->topk(&l.x, &op);
            memcpy(sorted, want, sizeof sorted);
            qsort(sorted, (size_t)k, sizeof *sorted, ascending);
            assert_memory_equal(ids, sorted, (size_t)k * sizeof *ids);
            assert_int_equal(bad, -1);
        }
    for (int i = 0; i < 7; i++)
        x[i] = i % 2 ? 0.0f : -0.0f;
    l.x.ops->topk(&l.x, &(struct sy_topk){1, 7, 7, 1, 1, x, NULL, ids, &bad});
    for (int j = 0; j < 7; j++)
        assert_int_equal(ids[j], j);
    lab_close(&l);
}

/* Controls: ties to the higher id, and a sort that tells -0 from +0, are seen on rows of few kinds. */
static int higher_first(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    return x->value != y->value ? better_first(a, b) : y->id - x->id;
}
static int plus_first(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    int sign = (signbit(x->value) != 0) - (signbit(y->value) != 0);
    return x->value == y->value && sign ? sign : better_first(a, b);
}

static void test_wrong_rules_show(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { N = 40, K = 9 };
    int (*const rules[3])(const void *, const void *) = {better_first, higher_first, plus_first};
    int differs[3] = {0, 0, 0};
    for (int round = 0; round < 50; round++) {
        float x[N];
        int32_t ids[K];
        int64_t bad;
        for (int i = 0; i < N; i++)
            x[i] = (float)-below(3) * (below(2) ? 1.0f : 0.0f);
        l.x.ops->topk(&l.x, &(struct sy_topk){1, N, K, 0, 1, x, NULL, ids, &bad});
        for (int rule = 0; rule < 3; rule++) {
            struct item item[N];
            for (int i = 0; i < N; i++)
                item[i] = (struct item){x[i], i};
            qsort(item, N, sizeof *item, rules[rule]);
            for (int j = 0; j < K; j++)
                differs[rule] += item[j].id != ids[j];
        }
    }
    assert_int_equal(differs[0], 0);
    assert_true(differs[1] > 0 && differs[2] > 0);
    lab_close(&l);
}

/* topk_bwd is the adjoint of taking values: <dv, x[ids]> = <dx, x>, exact in integers. */
static void test_adjoint(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { R = 7, N = 90, K = 20 };
    float x[R * N], v[R * K], dv[R * K], dx[R * N];
    int32_t ids[R * K];
    int64_t bad, left = 0, right = 0;
    for (int i = 0; i < R * N; i++)
        x[i] = (float)below(50);
    for (int i = 0; i < R * K; i++)
        dv[i] = (float)(below(50) - 25);
    l.x.ops->topk(&l.x, &(struct sy_topk){R, N, K, 0, 0, x, v, ids, &bad});
    l.x.ops->topk_bwd(&l.x, &(struct sy_topk_bwd){R, N, K, ids, dv, dx});
    for (int i = 0; i < R * K; i++)
        left += (int64_t)(dv[i] * v[i]);
    for (int i = 0; i < R * N; i++)
        right += (int64_t)(dx[i] * x[i]);
    assert_int_equal(left, right);
    assert_int_not_equal(left, 0);
    lab_close(&l);
}

/* --- the public form ------------------------------------------------------------------------------------ */

static void says(const char *text) {
    if (!strstr(sy_error_message(), text))
        fail_msg("the message is \"%s\", not one with \"%s\"", sy_error_message(), text);
}

static void test_shape(void **state) {
    (void)state;
    int64_t rows = -1, k = -1;
    static const int64_t bad_k[] = {0, -3, 9, INT64_MAX};
    assert_int_equal(sy_topk_shape(5, 8, 8, &rows, &k), SY_OK);
    assert_true(rows == 5 && k == 8);
    assert_int_equal(sy_topk_shape(0, 1, 1, &rows, &k), SY_OK);
    assert_true(rows == 0 && k == 1);
    for (int i = 0; i < 4; i++)
        assert_int_equal(sy_topk_check(5, 8, bad_k[i], &rows, &k), SY_ERR_USAGE);
    assert_int_equal(sy_topk_shape(5, 8, 9, &rows, &k), SY_ERR_USAGE);
    says("k = 9");
    says("n = 8");
    assert_int_equal(sy_topk_shape(5, 0, 1, &rows, &k), SY_ERR_USAGE);
    assert_int_equal(sy_topk_shape(-1, 8, 1, &rows, &k), SY_ERR_USAGE);
    says("-1");
    assert_int_equal(sy_topk_shape(INT64_MAX / 2, 8, 1, &rows, &k), SY_ERR_USAGE);
    assert_int_equal(sy_topk_shape(1, (int64_t)INT32_MAX + 1, 1, &rows, &k), SY_ERR_USAGE);
    assert_true(rows == 0 && k == 1); /* nothing written */
}

static void test_public(void **state) {
    (void)state;
    enum { R = 3, N = 5, K = 2 };
    float x[R * N] = {3, 1, 3, 2, 0, -1, INFINITY, -INFINITY, 0, 0, 7, 7, 7, 7, 7}, values[R * K], dx[R * N];
    static const int32_t best[R * K] = {0, 2, 1, 3, 0, 1}, least[R * K] = {4, 1, 2, 0, 0, 1};
    const float dv[R * K] = {1, 2, 3, 4, 5, 6};
    int32_t ids[R * K];
    assert_int_equal(sy_topk(x, R, N, K, 0, 1, values, ids), SY_OK);
    assert_memory_equal(ids, best, sizeof best);
    assert_true(values[0] == 3 && values[1] == 3 && values[2] == INFINITY && values[3] == 0 &&
                values[5] == 7);
    assert_int_equal(sy_topk_bwd(dv, ids, R, N, K, dx), SY_OK);
    for (int i = 0; i < R * N; i++)
        assert_true(dx[i] == (i == 0    ? 1
                              : i == 2  ? 2
                              : i == 6  ? 3
                              : i == 8  ? 4
                              : i == 10 ? 5
                              : i == 11 ? 6
                                        : 0));
    assert_int_equal(sy_topk(x, R, N, K, 1, 1, NULL, ids), SY_OK);
    assert_memory_equal(ids, least, sizeof least);
    x[1 * N + 4] = NAN;
    assert_int_equal(sy_topk(x, R, N, K, 0, 0, values, ids), SY_ERR_NONFINITE);
    says("row 1");
    assert_memory_equal(ids, least, sizeof least); /* nothing written */
    assert_int_equal(sy_topk(x, R, N, N + 1, 0, 0, values, ids), SY_ERR_USAGE);
    assert_int_equal(sy_topk(x, 0, N, K, 0, 0, values, ids), SY_OK);
    memset(dx, 0, sizeof dx);
    ids[3] = N;
    assert_int_equal(sy_topk_bwd(dv, ids, R, N, K, dx), SY_ERR_USAGE);
    says("row 1 is 5: must be 0 to 4");
    ids[3] = -1;
    assert_int_equal(sy_topk_bwd(dv, ids, R, N, K, dx), SY_ERR_USAGE);
    ids[3] = ids[2];
    assert_int_equal(sy_topk_bwd(dv, ids, R, N, K, dx), SY_ERR_USAGE);
    says("as an earlier one");
    for (int i = 0; i < R * N; i++)
        assert_true(dx[i] == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definition),       cmocka_unit_test(test_every_k),
        cmocka_unit_test(test_ties_and_nan),     cmocka_unit_test(test_order),
        cmocka_unit_test(test_adjoint),          cmocka_unit_test(test_shape),
        cmocka_unit_test(test_wrong_rules_show), cmocka_unit_test(test_public),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
