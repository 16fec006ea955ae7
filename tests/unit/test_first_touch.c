/* Where memory lies with who writes it first, that is the thread that will use it: a block of a CPU's arena
 * is zeroed by all threads of its pool, each its part, also on pages that were used before; an arena
 * without a pool by its maker alone. The pages that a thread wrote first are its minor faults.
 */
#include <stdlib.h>
#include <sys/resource.h>

#include "../lib/session.h"
#include "device/memory.h"

enum { THREADS = 3, BLOCK = 3 << 25, SMALL = 100 };

static void count(void *arg, int thread, int n_threads) {
    struct rusage r;
    (void)n_threads;
    getrusage(RUSAGE_THREAD, &r);
    ((long *)arg)[thread] = r.ru_minflt;
}

struct blocks {
    unsigned char *small, *large;
};
static void carve(void *self, struct sy_arena *a) {
    struct blocks *b = self;
    b->small = sy_arena_take(a, "small", SMALL, 1);
    b->large = sy_arena_take(a, "large", BLOCK, 1);
}

static int is_zero(const unsigned char *p, int64_t n) {
    unsigned char any = 0;
    for (int64_t i = 0; i < n; i++)
        any |= p[i];
    return !any;
}

/* Pages, large or small ones, that each thread wrote first. */
static void pages_of(const struct sy_device *d, struct sy_pool *pool, long pages[THREADS]) {
    long before[THREADS];
    struct blocks b;
    struct sy_arena a;
    sy_pool_run_each(pool, count, before);
    expect_ok(sy_arena_build(d, "a test", carve, &b, &a));
    sy_pool_run_each(pool, count, pages);
    for (int i = 0; i < THREADS; i++)
        pages[i] -= before[i];
    assert_true(is_zero(b.small, SMALL) && is_zero(b.large, BLOCK));
    memset(b.large, 1, BLOCK);
    sy_arena_fini(&a);
}

/* A part is 16 large pages, or as many small ones. */
static void by_all_threads(void **state) {
    struct sy_pool *pool;
    struct sy_device *d;
    long pages[THREADS];
    (void)state;
    expect_ok(sy_pool_create(THREADS, &pool));
    expect_ok(sy_device_cpu_create(pool, &d));
    assert_true(sy_device_is_cpu(d) && sy_device_is_cpu(sy_device_cpu()));
    pages_of(d, pool, pages);
    for (int i = 0; i < THREADS; i++)
        if (pages[i] < 12)
            fail_msg("thread %d of %d wrote %ld pages first", i, THREADS, pages[i]);
    pages_of(sy_device_cpu(), pool, pages);
    assert_true(pages[0] >= 36);
    for (int i = 1; i < THREADS; i++)
        if (pages[i] > 3)
            fail_msg("without a pool thread %d wrote %ld pages first", i, pages[i]);
    sy_device_destroy(d);
    sy_pool_destroy(pool);
}

/* Memory that comes back from free as it was left. */
static void used_before(void **state) {
    struct sy_pool *pool;
    struct sy_device *d;
    (void)state;
    expect_ok(sy_pool_create(2, &pool));
    expect_ok(sy_device_cpu_create(pool, &d));
    for (int i = 0; i < 20; i++) {
        size_t bytes = (size_t)64 << i % 10;
        unsigned char *p = d->alloc(d, SY_PLACE_DEVICE, bytes);
        assert_non_null(p);
        d->zero(d, p, bytes);
        assert_true(is_zero(p, (int64_t)bytes));
        memset(p, 0xa5, bytes);
        d->free(d, SY_PLACE_DEVICE, p, bytes);
    }
    sy_device_destroy(d);
    sy_pool_destroy(pool);
}

/* A training session takes its memory so. */
static void of_a_session(void **state) {
    const char *keys[][2] = {{"model.flavor", "micro_mla"}, {"run.threads", "2"}};
    struct sy_session *s = session_of(config_with(keys, 2), SY_SESSION_TRAIN);
    (void)state;
    assert_true(s->exec.device == s->own_device && sy_device_is_cpu(s->exec.device) && s->exec.device->zero);
    assert_ptr_equal(s->exec.device->state, s->pool);
    close_session(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(by_all_threads), cmocka_unit_test(used_before),
                                       cmocka_unit_test(of_a_session)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
