/* A pool of pthreads with a fixed partition: see threads.h.
 *
 * One generation counter starts a round, one countdown ends it. Both sides spin on the atomic for as long
 * as a short round takes, then sleep on it (Linux's futex). A sleeper counts itself before it looks again,
 * and who changes the word looks at that count afterwards, so that nobody is woken in vain, and none is
 * left asleep.
 *
 * A share is taken by writing the round's number over the one before: by its own thread, or by the caller
 * when that is done with its own first. So a thread that the system has put aside, or that still sleeps,
 * holds nobody up; when it comes it finds its share of that round taken, perhaps of several, and waits for
 * the next.
 */
#include "base/threads.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpus.h"

enum { MOST = 1024, LOOKS = 64, LINE = 64 }; /* LOOKS: at the word, between two at the clock */
static const double SPIN = 2e-4; /* seconds; to be woken takes a tenth of it, others wait for that */

struct word { /* that threads wait on, in a line of its own */
    alignas(LINE) atomic_uint value;
    atomic_int sleepers;
};

struct sy_pool {
    struct word generation, pending;
    alignas(LINE) int n;
    int spins; /* 0 when there are more threads than usable processors */
    int64_t runs;
    pthread_t *threads;
    void (*fn)(void *, int, int);
    void *arg;
    void (*watch)(void *, int, const struct sy_pool_share *); /* changes between rounds alone */
    void *watcher;
    atomic_int stop;
    atomic_uint *taken; /* [n] the last round whose share was */
    struct worker {
        struct sy_pool *pool;
        int index;
        struct sy_pool_share share; /* if it is watched */
    } * workers;
    struct sy_pool_share *shares; /* [n] of a round, for the watch */
};

/* --- waiting -------------------------------------------------------------------------------------------- */

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* A wait ends when the word is another than `before`; with until_0, when it is 0. */
static int is_over(const struct word *w, unsigned before, int until_0, unsigned *now) {
    *now = atomic_load(&w->value);
    return until_0 ? *now == 0 : *now != before;
}

static int is_over_soon(const struct word *w, unsigned before, int until_0) {
    unsigned seen;
    for (double end = 0;;) {
        for (int i = 0; i < LOOKS; i++) {
            if (is_over(w, before, until_0, &seen))
                return 1;
            relax();
        }
        double now = sy_clock();
        end = end > 0 ? end : now + SPIN;
        if (now >= end)
            return 0;
        sched_yield(); /* to a thread of the pool that has no processor */
    }
}

static void wait_for(struct word *w, unsigned before, int until_0, int spins) {
    unsigned now;
    if (spins && is_over_soon(w, before, until_0))
        return;
    atomic_fetch_add(&w->sleepers, 1);
    while (!is_over(w, before, until_0, &now))
        syscall(SYS_futex, &w->value, FUTEX_WAIT_PRIVATE, now, NULL, NULL, 0);
    atomic_fetch_sub(&w->sleepers, 1);
}

static void wake(struct word *w) {
    if (atomic_load(&w->sleepers) > 0)
        syscall(SYS_futex, &w->value, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* --- rounds --------------------------------------------------------------------------------------------- */

static void work(struct sy_pool *p, int index) {
    if (!p->watch) {
        p->fn(p->arg, index, p->n);
        return;
    }
    struct sy_pool_share *share = &p->workers[index].share;
    share->begin = sy_clock();
    share->cpu_begin = sy_clock_thread();
    p->fn(p->arg, index, p->n);
    share->cpu_end = sy_clock_thread();
    share->end = sy_clock();
}

/* Whether the caller has share i of a round now. All shares of the rounds before were taken. */
static int take(struct sy_pool *p, int i, unsigned round) {
    unsigned before = round - 1;
    return atomic_compare_exchange_strong(&p->taken[i], &before, round);
}

static void *worker_main(void *arg) {
    struct worker *w = arg;
    struct sy_pool *p = w->pool;
    for (unsigned seen = 0;;) {
        wait_for(&p->generation, seen, 0, p->spins);
        seen = atomic_load(&p->generation.value);
        if (atomic_load(&p->stop))
            return NULL;
        if (!take(p, w->index, seen))
            continue;
        work(p, w->index);
        if (atomic_fetch_sub(&p->pending.value, 1) == 1)
            wake(&p->pending);
    }
}

static void begin_round(struct sy_pool *p) {
    atomic_fetch_add(&p->generation.value, 1);
    wake(&p->generation);
}

void sy_pool_destroy(struct sy_pool *pool) {
    if (!pool)
        return;
    atomic_store(&pool->stop, 1);
    begin_round(pool);
    for (int i = 1; i < pool->n; i++)
        pthread_join(pool->threads[i], NULL);
    free(pool->threads);
    free(pool->workers);
    free(pool->shares);
    free(pool->taken);
    free(pool);
}

sy_status sy_pool_create(int n_threads, struct sy_pool **out) {
    if (n_threads < 0 || n_threads > MOST)
        SY_FAIL(SY_ERR_USAGE, "run.threads = %d: must be in 0..%d (0: one per usable processor)", n_threads,
                MOST);
    int usable = sy_cpus_usable(), n = n_threads ? n_threads : usable < MOST ? usable : MOST;
    struct sy_pool *p = aligned_alloc(LINE, sizeof *p);
    if (p) {
        memset(p, 0, sizeof *p);
        p->threads = calloc((size_t)n, sizeof *p->threads);
        p->workers = calloc((size_t)n, sizeof *p->workers);
        p->shares = calloc((size_t)n, sizeof *p->shares);
        p->taken = calloc((size_t)n, sizeof *p->taken);
    }
    if (!p || !p->threads || !p->workers || !p->shares || !p->taken) {
        if (p) {
            free(p->threads);
            free(p->workers);
            free(p->shares);
            free(p->taken);
        }
        free(p);
        SY_FAIL(SY_ERR_MEMORY, "no memory for a pool of %d threads", n);
    }
    p->spins = n <= usable;
    p->n = 1;
    for (int i = 1; i < n; i++, p->n++) {
        p->workers[i] = (struct worker){.pool = p, .index = i};
        if (pthread_create(&p->threads[i], NULL, worker_main, &p->workers[i]) != 0) {
            sy_pool_destroy(p);
            SY_FAIL(SY_ERR_RUNTIME, "thread %d of %d could not be started", i, n);
        }
    }
    *out = p;
    return SY_OK;
}

int sy_pool_size(const struct sy_pool *pool) { return pool ? pool->n : 1; }

int64_t sy_pool_runs(const struct sy_pool *pool) { return pool ? pool->runs : 0; }

/* takes: the caller does shares that nobody has begun. */
static void run(struct sy_pool *pool, void (*fn)(void *, int, int), void *arg, int takes) {
    if (pool)
        pool->runs++;
    if (!pool || pool->n == 1) {
        fn(arg, 0, 1);
        return;
    }
    pool->fn = fn;
    pool->arg = arg;
    atomic_store(&pool->pending.value, (unsigned)pool->n - 1);
    begin_round(pool);
    unsigned round = atomic_load(&pool->generation.value);
    (void)take(pool, 0, round);
    work(pool, 0);
    for (int i = 1; takes && i < pool->n; i++)
        if (take(pool, i, round)) {
            work(pool, i);
            atomic_fetch_sub(&pool->pending.value, 1);
        }
    wait_for(&pool->pending, 0, 1, pool->spins);
    if (!pool->watch)
        return;
    for (int i = 0; i < pool->n; i++)
        pool->shares[i] = pool->workers[i].share;
    pool->watch(pool->watcher, pool->n, pool->shares);
}

void sy_pool_run(struct sy_pool *pool, void (*fn)(void *, int, int), void *arg) { run(pool, fn, arg, 1); }

void sy_pool_run_each(struct sy_pool *pool, void (*fn)(void *, int, int), void *arg) {
    run(pool, fn, arg, 0);
}

void sy_pool_watch(struct sy_pool *pool, void (*watch)(void *, int, const struct sy_pool_share *),
                   void *self) {
    if (!pool)
        return;
    pool->watch = watch;
    pool->watcher = self;
}
