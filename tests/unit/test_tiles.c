/* Which tile a GPU's product takes (ops/tiles.h): by the rule, by the table, by who measures it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ops/tiles.h"

enum { H200 = 132 };

static int columns_of(enum sy_product product, int64_t m, int64_t n, int64_t k, int64_t groups) {
    struct sy_product_shape s = {product, m, n, k, groups};
    return sy_tile_rule(H200, &s).columns;
}

/* Large products take the tile that needs least of a multiprocessor; small ones have more tiles. */
static void test_rule(void **state) {
    (void)state;
    assert_int_equal(columns_of(SY_PRODUCT_nt, 8192, 8192, 8192, 1), 256);
    assert_int_equal(columns_of(SY_PRODUCT_nn, 16384, 2048, 2048, 1), 256);
    assert_int_equal(columns_of(SY_PRODUCT_tn_leaf, 2816, 2048, 98304, 64), 256);
    assert_int_equal(columns_of(SY_PRODUCT_list_leaf, 10944, 2048, 16384, 1), 256); /* 5.2 rounds, or 10.4 */
    assert_int_equal(columns_of(SY_PRODUCT_nt_swiglu, 98304, 2816, 2048, 64), 256);
    assert_int_equal(columns_of(SY_PRODUCT_nt, 2048, 256, 256, 1), 64);
    assert_int_equal(columns_of(SY_PRODUCT_nn, 2048, 256, 256, 1), 128);
    assert_int_equal(columns_of(SY_PRODUCT_nt, 2048, 512, 512, 1), 64);
    assert_int_equal(columns_of(SY_PRODUCT_nt, 2048, 512, 512, 16),
                     128);                                             /* half a tile more for each group */
    assert_int_equal(columns_of(SY_PRODUCT_nt, 8, 2048, 2048, 1), 64); /* a few tokens of a text */
}

/* Columns that are not there cost as much as others: 1408 are 5.5 times 256 and 11 times 128. */
static void test_waste(void **state) {
    (void)state;
    assert_int_equal(columns_of(SY_PRODUCT_nn_swiglu_back, 98304, 1408, 2048, 64), 128);
    assert_int_equal(columns_of(SY_PRODUCT_nn_swiglu_back, 98304, 1536, 2048, 64), 256);
    assert_int_equal(columns_of(SY_PRODUCT_nt_f32, 16384, 64, 2048, 1), 64);
    assert_int_equal(columns_of(SY_PRODUCT_nt_f32, 16384, 128, 2048, 1), 128);
}

/* Whatever the shape, a tile that the product has. */
static void test_any_shape(void **state) {
    (void)state;
    static const int64_t sizes[] = {1, 16, 127, 129, 5000, 1 << 20};
    for (int i = 0; i < SY_N_PRODUCTS * 6 * 6 * 6; i++) {
        struct sy_product_shape s = {(enum sy_product)(i / 216), sizes[i / 36 % 6], sizes[i / 6 % 6],
                                     sizes[i % 6], 1 + i % 3 * 40};
        struct sy_tile_size size = sy_tile_choose(NULL, 1 + i % 200, &s);
        assert_true(size.columns == 256 || size.columns == 128 || size.columns == 64);
        assert_true(size.columns >= sy_product_least(s.product) && size.band > 0);
    }
}

/* Who measures sees each shape once a product, and decides; what a product does not have is its least. */
static void test_tuning(void **state) {
    (void)state;
    struct sy_product_shape a = {SY_PRODUCT_nt, 8192, 8192, 8192, 1}, b = {SY_PRODUCT_nn, 64, 64, 64, 2};
    struct sy_tuning t = {.n = 0};
    assert_int_equal(sy_tile_choose(&t, H200, &a).columns, 256);
    t.forced = (struct sy_tile_size){64, 3};
    struct sy_tile_size size = sy_tile_choose(&t, H200, &a);
    assert_true(size.columns == 64 && size.band == 3);
    size = sy_tile_choose(&t, H200, &b);
    assert_true(size.columns == 128 && size.band == 3);
    assert_true(t.n == 3 && t.multiprocessors == H200);
    assert_true(sy_product_same(&t.seen[0], &a) && sy_product_same(&t.seen[2], &b));
    assert_false(sy_product_same(&a, &b));
    for (int i = 0; i < 2 * SY_TUNED_MOST; i++)
        sy_tile_choose(&t, H200, &a);
    assert_int_equal(t.n, SY_TUNED_MOST);
}

/* The nearest row, of several the last; of another width, product or GPU none. */
static void test_measured(void **state) {
    (void)state;
    static const struct sy_tile_row rows[] = {
        {H200, {SY_PRODUCT_nt, 1000, 64, 32, 1}, {256, 8}},
        {H200, {SY_PRODUCT_nt, 1300, 64, 32, 1}, {128, 32}},
        {H200, {SY_PRODUCT_nt, 1000, 64, 32, 1}, {64, 32}},
        {H200, {SY_PRODUCT_tn_leaf, 64, 32, 1000, 4}, {128, 8}},
    };
    static const struct {
        int multiprocessors;
        struct sy_product_shape shape;
        int columns;
    } want[] = {
        {H200, {SY_PRODUCT_nt, 1000, 64, 32, 1}, 64},       {H200, {SY_PRODUCT_nt, 1300, 64, 32, 1}, 128},
        {H200, {SY_PRODUCT_nt, 1100, 64, 32, 1}, 64},       {H200, {SY_PRODUCT_nt, 1200, 64, 32, 1}, 128},
        {H200, {SY_PRODUCT_nt, 700, 64, 32, 1}, 64},        {H200, {SY_PRODUCT_nt, 600, 64, 32, 1}, 0},
        {H200, {SY_PRODUCT_nt, 1900, 64, 32, 1}, 128},      {H200, {SY_PRODUCT_nt, 2000, 64, 32, 1}, 0},
        {H200, {SY_PRODUCT_nt, 1000, 72, 32, 1}, 0},        {H200, {SY_PRODUCT_nt, 1000, 64, 48, 1}, 0},
        {H200, {SY_PRODUCT_nt, 1000, 64, 32, 2}, 0},        {H200, {SY_PRODUCT_nt_add, 1000, 64, 32, 1}, 0},
        {114, {SY_PRODUCT_nt, 1000, 64, 32, 1}, 0},         {H200, {SY_PRODUCT_nt, 0, 64, 32, 1}, 0},
        {H200, {SY_PRODUCT_tn_leaf, 64, 32, 1400, 4}, 128}, {H200, {SY_PRODUCT_tn_leaf, 64, 32, 1600, 4}, 0},
        {H200, {SY_PRODUCT_tn_leaf, 70, 32, 1000, 4}, 0},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct sy_tile_size size = sy_tile_measured(rows, (int)(sizeof rows / sizeof *rows),
                                                    want[i].multiprocessors, &want[i].shape);
        assert_int_equal(size.columns, want[i].columns);
    }
}

static int is_replaced(int i) {
    for (int j = i + 1; j < sy_tile_rows; j++)
        if (sy_tile_table[j].multiprocessors == sy_tile_table[i].multiprocessors &&
            sy_product_same(&sy_tile_table[j].shape, &sy_tile_table[i].shape))
            return 1;
    return 0;
}

/* Each row of the table is a tile that its product has, and is taken unless a later one replaces it. */
static void test_table(void **state) {
    (void)state;
    assert_true(sy_tile_rows > 0);
    for (int i = 0; i < sy_tile_rows; i++) {
        const struct sy_tile_row *row = &sy_tile_table[i];
        struct sy_tile_size size = sy_tile_choose(NULL, row->multiprocessors, &row->shape);
        assert_true(is_replaced(i) || (size.columns == row->size.columns && size.band == row->size.band));
        assert_true(size.columns >= sy_product_least(row->shape.product) && size.band > 0);
        assert_true(size.columns == 256 || size.columns == 128 || size.columns == 64);
    }
}

static void test_names(void **state) {
    (void)state;
    assert_string_equal(sy_product_name(SY_PRODUCT_nn_swiglu_back), "nn_swiglu_back");
    assert_string_equal(sy_product_name(SY_PRODUCT_list_fold), "list_fold");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rule),   cmocka_unit_test(test_waste),    cmocka_unit_test(test_any_shape),
        cmocka_unit_test(test_tuning), cmocka_unit_test(test_measured), cmocka_unit_test(test_table),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
