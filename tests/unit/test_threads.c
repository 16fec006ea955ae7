/* The pool: every index once and no other, many rounds, more threads than processors, plain memory handed
 * back and forth (for TSan), and partitions that cover exactly once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <pthread.h>
#include <stdatomic.h>

#include <cmocka.h>

#include "base/threads.h"

enum { MOST = 64 };

struct tally {
    int expected_n;
    int64_t calls[MOST]; /* plain memory: each thread its own, read by the caller after the round */
    int64_t round;       /* written by the caller before a round, read by all */
    int64_t wrong;       /* written by thread 0 alone */
    int64_t saw[MOST];
};

static void count(void *arg, int thread, int n_threads) {
    struct tally *t = arg;
    if (n_threads == t->expected_n && thread >= 0 && thread < n_threads) {
        t->calls[thread]++;
        t->saw[thread] = t->round;
    } else if (thread == 0) {
        t->wrong++;
    }
}

static void rounds(int n, int n_rounds) {
    struct sy_pool *pool;
    struct tally t = {.expected_n = n};
    assert_int_equal(sy_pool_create(n, &pool), SY_OK);
    assert_int_equal(sy_pool_size(pool), n);
    for (int r = 1; r <= n_rounds; r++) {
        t.round = r;
        sy_pool_run(pool, count, &t);
        for (int i = 0; i < n; i++)
            if (t.calls[i] != r || t.saw[i] != r)
                fail_msg("%d threads, round %d: thread %d ran %lld times", n, r, i, (long long)t.calls[i]);
    }
    assert_int_equal(t.wrong, 0);
    assert_int_equal(sy_pool_runs(pool), n_rounds);
    sy_pool_destroy(pool);
}

static void ten_thousand_rounds(void **state) {
    (void)state;
    rounds(1, 10000);
    rounds(2, 10000);
    rounds(3, 10000);
}

static void oversubscribed(void **state) {
    (void)state;
    rounds(17, 300);
    rounds(MOST, 100);
}

/* Shares of threads that still sleep are the caller's: of 64 threads on fewer processors it has more than
 * its own in some round. */
struct takers {
    pthread_t caller;
    atomic_int by_caller, by_others;
};
static void note_taker(void *arg, int thread, int n_threads) {
    struct takers *t = arg;
    (void)n_threads;
    if (pthread_equal(pthread_self(), t->caller))
        atomic_fetch_add(&t->by_caller, 1);
    else if (thread > 0)
        atomic_fetch_add(&t->by_others, 1);
}

static void sleepers_hold_nobody_up(void **state) {
    (void)state;
    enum { ROUNDS = 200 };
    struct takers t = {.caller = pthread_self()};
    struct sy_pool *pool;
    assert_int_equal(sy_pool_create(MOST, &pool), SY_OK);
    for (int i = 0; i < ROUNDS; i++)
        sy_pool_run(pool, note_taker, &t);
    sy_pool_destroy(pool);
    assert_int_equal(t.by_caller + t.by_others, ROUNDS * MOST);
    assert_true(t.by_caller > ROUNDS);
}

/* run_each leaves every share but the first to its own thread, asleep or not. */
static void each_by_its_own_thread(void **state) {
    enum { ROUNDS = 50 };
    struct takers t = {.caller = pthread_self()};
    struct sy_pool *pool;
    (void)state;
    assert_int_equal(sy_pool_create(MOST, &pool), SY_OK);
    for (int i = 0; i < ROUNDS; i++)
        sy_pool_run_each(pool, note_taker, &t);
    sy_pool_destroy(pool);
    assert_int_equal(t.by_caller, ROUNDS);
    assert_int_equal(t.by_others, ROUNDS * (MOST - 1));
}

/* Longer than anybody spins: the caller is late, or one of the threads is, thread 0 among them. */
static void late(void *arg, int thread, int n_threads) {
    struct tally *t = arg;
    if (thread == t->round % n_threads)
        usleep(1000);
    count(arg, thread, n_threads);
}

static void sleepers_are_woken(void **state) {
    struct sy_pool *pool;
    struct tally t = {.expected_n = 2};
    (void)state;
    assert_int_equal(sy_pool_create(2, &pool), SY_OK);
    for (t.round = 1; t.round <= 40; t.round++) {
        if (t.round % 4 == 0)
            usleep(1000);
        sy_pool_run(pool, late, &t);
        for (int i = 0; i < 2; i++)
            assert_true(t.calls[i] == t.round && t.saw[i] == t.round);
    }
    sy_pool_destroy(pool);
}

static void create_and_destroy(void **state) {
    (void)state;
    for (int i = 0; i < 100; i++) {
        struct sy_pool *pool;
        struct tally t = {.expected_n = 1 + i % 4};
        assert_int_equal(sy_pool_create(t.expected_n, &pool), SY_OK);
        if (i % 3)
            sy_pool_run(pool, count, &t);
        sy_pool_destroy(pool);
        for (int q = 0; q < t.expected_n; q++)
            assert_int_equal(t.calls[q], i % 3 ? 1 : 0);
    }
    sy_pool_destroy(NULL);
}

static void without_a_pool(void **state) {
    (void)state;
    struct tally t = {.expected_n = 1, .round = 4};
    sy_pool_run(NULL, count, &t);
    assert_int_equal(t.calls[0], 1);
    assert_int_equal(sy_pool_size(NULL), 1);
}

static void sizes_out_of_range(void **state) {
    (void)state;
    struct sy_pool *pool = NULL;
    static const int wrong[] = {-1, 1025, INT32_MIN, INT32_MAX};
    for (int i = 0; i < 4; i++) {
        sy_fail(SY_ERR_IO, "another");
        assert_int_equal(sy_pool_create(wrong[i], &pool), SY_ERR_USAGE);
        assert_null(pool);
        assert_non_null(strstr(sy_error_message(), "1024"));
    }
    assert_int_equal(sy_pool_create(0, &pool), SY_OK);
    assert_true(sy_pool_size(pool) >= 1);
    sy_pool_destroy(pool);
}

static void ranges_cover_once(void **state) {
    (void)state;
    for (int64_t n = 0; n < 70; n++)
        for (int64_t grain = 1; grain < 20; grain += 3)
            for (int parts = 1; parts < 12; parts++) {
                int64_t next = 0, least = n, most = 0;
                for (int i = 0; i < parts; i++) {
                    int64_t lo, hi;
                    sy_range(n, grain, i, parts, &lo, &hi);
                    assert_int_equal(lo, next);
                    assert_true(hi >= lo && hi <= n);
                    assert_true(lo == n || lo % grain == 0);
                    assert_true(hi == n || hi % grain == 0);
                    int64_t blocks = (hi - lo + grain - 1) / grain;
                    least = blocks < least ? blocks : least;
                    most = blocks > most ? blocks : most;
                    next = hi;
                }
                assert_int_equal(next, n);
                assert_true(n == 0 || most - least <= 1);
            }
    int64_t lo, hi;
    sy_range(INT64_C(1) << 40, 1024, 1023, 1024, &lo, &hi);
    assert_true(hi == INT64_C(1) << 40 && hi - lo == INT64_C(1) << 30);
}

/* A sum by blocks whose places do not depend on the threads has one answer. */
struct blocks {
    const float *x;
    float sum[40];
};

static void sum_blocks(void *arg, int thread, int n_threads) {
    struct blocks *b = arg;
    int64_t lo, hi;
    sy_range(40, 1, thread, n_threads, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        b->sum[i] = 0.0f;
        for (int j = 0; j < 25; j++)
            b->sum[i] += b->x[i * 25 + j];
    }
}

static void threads_do_not_change_bits(void **state) {
    (void)state;
    static float x[1000];
    for (int i = 0; i < 1000; i++)
        x[i] = (float)(i % 37) * 0.1f - 1.7f;
    struct blocks first = {.x = x}, other = {.x = x};
    sy_pool_run(NULL, sum_blocks, &first);
    for (int n = 1; n <= 7; n++) {
        struct sy_pool *pool;
        assert_int_equal(sy_pool_create(n, &pool), SY_OK);
        memset(other.sum, 0xff, sizeof other.sum);
        sy_pool_run(pool, sum_blocks, &other);
        assert_memory_equal(first.sum, other.sum, sizeof first.sum);
        sy_pool_destroy(pool);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sleepers_hold_nobody_up),
        cmocka_unit_test(each_by_its_own_thread),
        cmocka_unit_test(ten_thousand_rounds),
        cmocka_unit_test(oversubscribed),
        cmocka_unit_test(sleepers_are_woken),
        cmocka_unit_test(create_and_destroy),
        cmocka_unit_test(without_a_pool),
        cmocka_unit_test(sizes_out_of_range),
        cmocka_unit_test(ranges_cover_once),
        cmocka_unit_test(threads_do_not_change_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
