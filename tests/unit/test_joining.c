/* Nodes of ranks to the root, against the tree's recursive definition, bit for bit: every number of
 * leaves up to 24 and every way to cut them in two or three, and random ones into more; a sum in the
 * order of ranks must differ. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "parallel/joining.h"

enum { MOST = 24, WIDE = 7 };

static float leaf[MOST][WIDE];

static float node(int first, int size, int leaves, int i) {
    if (size == 1)
        return leaf[first][i];
    float left = node(first, size / 2, leaves, i);
    return first + size / 2 < leaves ? left + node(first + size / 2, size / 2, leaves, i) : left;
}

static float root(int leaves, int i) {
    int size = 1;
    while (size < leaves)
        size *= 2;
    return node(0, size, leaves, i);
}

/* What the owner does; ranks in turn: what it must not do. */
static float joined(const struct sy_joining *j, int leaves, int i, int in_turn) {
    float sum[MOST] = {0};
    int n = j->first[j->size];
    for (int k = 0; k < n; k++)
        sum[k] = node(j->node[k].index << j->node[k].level, 1 << j->node[k].level, leaves, i);
    if (in_turn) {
        for (int k = 1; k < n; k++)
            sum[0] = sum[0] + sum[k];
        return sum[0];
    }
    for (int k = 0; k < j->n_joins; k++)
        sum[j->to[k]] = sum[j->to[k]] + sum[j->from[k]];
    return sum[j->root];
}

static int in_turn_differs; /* how often */

static void check(const struct sy_share *of, int ranks, int leaves) {
    int most = 0;
    for (int n = leaves; n > 1; n = (n + 1) / 2)
        most += 2;
    for (int rank = 0; rank < ranks; rank++) {
        struct sy_joining j;
        assert_int_equal(sy_joining_init(of, ranks, rank, leaves, &j), SY_OK);
        assert_true(sy_joining_own(&j) >= 1 && sy_joining_own(&j) <= (most > 1 ? most : 1));
        assert_int_equal(j.n_joins, j.first[ranks] - 1); /* each node is added once */
        for (int i = 0; i < WIDE; i++) {
            float sum = joined(&j, leaves, i, 0);
            assert_true(sum == root(leaves, i));
            in_turn_differs += joined(&j, leaves, i, 1) != sum;
        }
        float in_turn[WIDE];
        for (int i = 0; i < WIDE; i++)
            in_turn[i] = joined(&j, leaves, i, 1);
        sy_joining_in_turn(&j); /* the planted bug is just that */
        for (int i = 0; i < WIDE; i++)
            assert_true(joined(&j, leaves, i, 0) == in_turn[i]);
        sy_joining_fini(&j);
    }
}

static void fill(uint64_t seed) {
    for (int p = 0; p < MOST; p++)
        for (int i = 0; i < WIDE; i++) {
            uint64_t r = sy_mix64(seed * 1000 + (uint64_t)(p * WIDE + i));
            leaf[p][i] = ldexpf((float)(int32_t)(r >> 32), (int)(r % 24) - 40);
        }
}

static void two_and_three(void **state) {
    (void)state;
    for (int leaves = 1; leaves <= MOST; leaves++) {
        fill((uint64_t)leaves);
        check(&(struct sy_share){0, leaves}, 1, leaves);
        for (int a = 1; a < leaves; a++) {
            check((struct sy_share[]){{0, a}, {a, leaves - a}}, 2, leaves);
            for (int b = 1; a + b < leaves; b++)
                check((struct sy_share[]){{0, a}, {a, b}, {a + b, leaves - a - b}}, 3, leaves);
        }
    }
    assert_true(in_turn_differs > 1000);
}

static void many(void **state) {
    (void)state;
    for (uint64_t k = 0; k < 300; k++) {
        struct sy_share of[MOST];
        int leaves = 2 + (int)(sy_mix64(k) % (MOST - 1)), ranks = 0;
        fill(k);
        for (int64_t at = 0; at < leaves; at += of[ranks++].n) {
            int64_t n = 1 + (int64_t)(sy_mix64(k * 64 + (uint64_t)at) % 5);
            of[ranks] = (struct sy_share){at, n < leaves - at ? n : leaves - at};
        }
        check(of, ranks, leaves);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(two_and_three), cmocka_unit_test(many)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
