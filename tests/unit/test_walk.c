/* The walk and the shards: every sequence once, in the order that NUMERICS 4 wants; every block has one
 * owner. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "parallel/shard.h"
#include "parallel/walk.h"

/* Written out: group by group, round by round, lane by lane of the group, w by w. */
static void check_walk(int lanes, int f, int cell, int rounds, int first_group, int groups) {
    struct sy_walk w = {lanes, f, cell, rounds, first_group * f, groups * f, 0};
    int64_t k = 0;
    assert_int_equal(sy_walk_length(&w), groups * f * cell * rounds);
    for (int g = first_group; g < first_group + groups; g++)
        for (int j = 0; j < rounds; j++)
            for (int lane = g * f; lane < (g + 1) * f; lane++)
                for (int i = 0; i < cell; i++, k++) {
                    struct sy_walk_place p = sy_walk_place(&w, k);
                    assert_true(p.lane == lane && p.round == j && p.w == i);
                    assert_int_equal(sy_walk_sequence(&w, k), (j * lanes + lane) * cell + i);
                }
    /* the places of some lanes are those of their groups */
    for (int first = w.first_lane; first < w.first_lane + w.n_lanes; first++)
        for (int n = 1; first + n <= w.first_lane + w.n_lanes; n++) {
            int64_t from, to;
            sy_walk_places(&w, first, n, &from, &to);
            for (int64_t q = 0; q < sy_walk_length(&w); q++) {
                int64_t lane = sy_walk_place(&w, q).lane, group = lane / f;
                int inside = group >= first / f && group <= (first + n - 1) / f;
                assert_int_equal(q >= from && q < to, inside);
            }
        }
}

/* A part of a group: round by round, its lanes, w by w. */
static void check_part(int f, int cell, int rounds, int first, int n) {
    struct sy_walk w = {4 * f, f, cell, rounds, first, n, 0};
    int64_t k = 0, from, to;
    assert_int_equal(sy_walk_length(&w), n * cell * rounds);
    for (int j = 0; j < rounds; j++)
        for (int lane = first; lane < first + n; lane++)
            for (int i = 0; i < cell; i++, k++) {
                struct sy_walk_place p = sy_walk_place(&w, k);
                assert_true(p.lane == lane && p.round == j && p.w == i);
                assert_int_equal(sy_walk_sequence(&w, k), (j * 4 * f + lane) * cell + i);
            }
    sy_walk_places(&w, first + n - 1, 1, &from, &to);
    assert_true(from == 0 && to == k);
}

static void walks(void **state) {
    (void)state;
    for (int f = 2; f <= 5; f++)
        for (int n = 1; n < f; n++)
            for (int first = f; first + n <= 2 * f; first++)
                check_part(f, 2, 3, first, n);
    for (int groups = 1; groups <= 5; groups++)
        for (int f = 1; f <= 3; f++)
            for (int cell = 1; cell <= 3; cell++)
                for (int rounds = 1; rounds <= 3; rounds++)
                    for (int first = 0; first < groups; first++)
                        check_walk(groups * f, f, cell, rounds, first, groups - first);
}

static void swapped(void **state) {
    (void)state;
    struct sy_walk good = {4, 2, 2, 3, 0, 4, 0}, bad = good;
    bad.swapped = 1;
    for (int64_t k = 0; k < 24; k++) {
        int64_t n = sy_walk_sequence(&good, k);
        assert_int_equal(sy_walk_sequence(&bad, k), n < 2 ? n + 2 : n < 4 ? n - 2 : n);
    }
}

/* Ranges follow one another, cut at blocks, and differ by at most a block. */
static void shards(void **state) {
    (void)state;
    static const int64_t sizes[] = {0, 1, 1023, 1024, 1025, 5000, 1 << 20, (1 << 20) + 7};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int size = 1; size <= 9; size++) {
            int64_t end = 0, least = INT64_MAX, most = 0;
            for (int rank = 0; rank < size; rank++) {
                struct sy_range_of r = sy_shard_range(&(struct sy_shard){rank, size}, sizes[i]);
                assert_true(r.first == end && r.n >= 0 &&
                            (r.first % SY_SHARD_BLOCK == 0 || r.first == sizes[i]));
                end = r.first + r.n;
                int64_t blocks = (r.n + SY_SHARD_BLOCK - 1) / SY_SHARD_BLOCK;
                least = blocks < least ? blocks : least;
                most = blocks > most ? blocks : most;
            }
            assert_true(end == sizes[i] && most - least <= 1);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(walks), cmocka_unit_test(swapped),
                                       cmocka_unit_test(shards)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
