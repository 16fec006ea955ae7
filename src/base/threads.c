/* A pool of pthreads with a fixed partition: see threads.h.
 *
 * One generation counter starts a round, one countdown ends it. Both sides spin for a while on the atomic and
 * then sleep on a condition variable; the mutex is only taken to sleep or to wake a sleeper.
 *
 * A share is taken by writing the round's number over the one before: by its own thread, or by the caller when
 * that is done with its own first. So a thread that the system has put aside, or that still sleeps, holds nobody
 * up; when it comes it finds its share of that round taken, perhaps of several, and waits for the next.
 */
#include "base/threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/cpus.h"

enum { SPINS = 2000, MOST = 1024 };

struct sy_pool {
    int n;
    int spins; /* 0 when there are more threads than usable processors */
    int64_t runs;
    pthread_t *threads;
    void (*fn)(void *, int, int);
    void *arg;
    void (*watch)(void *, int, const struct sy_pool_share *); /* changes between rounds alone */
    void *watcher;
    atomic_uint generation;
    atomic_int pending;
    atomic_int stop;
    atomic_uint *taken; /* [n] the last round whose share was */
    pthread_mutex_t mutex;
    pthread_cond_t start, done;
    struct worker {
        struct sy_pool *pool;
        int index;
        struct sy_pool_share share; /* if it is watched */
    } * workers;
    struct sy_pool_share *shares; /* [n] of a round, for the watch */
};

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* The round that there is now, not `seen`. */
static unsigned wait_generation(struct sy_pool *p, unsigned seen) {
    unsigned now = seen;
    for (int i = 0; i < p->spins; i++) {
        now = atomic_load_explicit(&p->generation, memory_order_acquire);
        if (now != seen)
            return now;
        relax();
    }
    pthread_mutex_lock(&p->mutex);
    while ((now = atomic_load_explicit(&p->generation, memory_order_acquire)) == seen)
        pthread_cond_wait(&p->start, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
    return now;
}

/* Whether the caller has share i of a round now. All shares of the rounds before were taken. */
static int take(struct sy_pool *p, int i, unsigned round) {
    unsigned before = round - 1;
    return atomic_compare_exchange_strong(&p->taken[i], &before, round);
}

static void work(struct sy_pool *p, int index) {
    if (!p->watch) {
        p->fn(p->arg, index, p->n);
        return;
    }
    p->workers[index].share.begin = sy_clock();
    p->fn(p->arg, index, p->n);
    p->workers[index].share.end = sy_clock();
}

static void *worker_main(void *arg) {
    struct worker *w = arg;
    struct sy_pool *p = w->pool;
    unsigned seen = 0;
    for (;;) {
        seen = wait_generation(p, seen);
        if (atomic_load_explicit(&p->stop, memory_order_acquire))
            return NULL;
        if (!take(p, w->index, seen))
            continue;
        work(p, w->index);
        if (atomic_fetch_sub_explicit(&p->pending, 1, memory_order_acq_rel) == 1) {
            pthread_mutex_lock(&p->mutex);
            pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->mutex);
        }
    }
}

static void begin_round(struct sy_pool *p) {
    pthread_mutex_lock(&p->mutex);
    atomic_fetch_add_explicit(&p->generation, 1, memory_order_release);
    pthread_cond_broadcast(&p->start);
    pthread_mutex_unlock(&p->mutex);
}

void sy_pool_destroy(struct sy_pool *pool) {
    if (!pool)
        return;
    atomic_store_explicit(&pool->stop, 1, memory_order_release);
    begin_round(pool);
    for (int i = 1; i < pool->n; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_mutex_destroy(&pool->mutex);
    pthread_cond_destroy(&pool->start);
    pthread_cond_destroy(&pool->done);
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
    struct sy_pool *p = calloc(1, sizeof *p);
    if (p) {
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
    p->spins = n <= usable ? SPINS : 0;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->start, NULL);
    pthread_cond_init(&p->done, NULL);
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

static void wait_round(struct sy_pool *pool) {
    for (int i = 0; i < pool->spins; i++) {
        if (atomic_load_explicit(&pool->pending, memory_order_acquire) == 0)
            return;
        relax();
    }
    pthread_mutex_lock(&pool->mutex);
    while (atomic_load_explicit(&pool->pending, memory_order_acquire) != 0)
        pthread_cond_wait(&pool->done, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}

void sy_pool_run(struct sy_pool *pool, void (*fn)(void *, int, int), void *arg) {
    if (pool)
        pool->runs++;
    if (!pool || pool->n == 1) {
        fn(arg, 0, 1);
        return;
    }
    pool->fn = fn;
    pool->arg = arg;
    atomic_store_explicit(&pool->pending, pool->n - 1, memory_order_release);
    begin_round(pool);
    unsigned round = atomic_load_explicit(&pool->generation, memory_order_relaxed);
    (void)take(pool, 0, round);
    work(pool, 0);
    for (int i = 1; i < pool->n; i++)
        if (take(pool, i, round)) {
            work(pool, i);
            atomic_fetch_sub_explicit(&pool->pending, 1, memory_order_acq_rel);
        }
    wait_round(pool);
    if (!pool->watch)
        return;
    for (int i = 0; i < pool->n; i++)
        pool->shares[i] = pool->workers[i].share;
    pool->watch(pool->watcher, pool->n, pool->shares);
}

void sy_pool_watch(struct sy_pool *pool, void (*watch)(void *, int, const struct sy_pool_share *),
                   void *self) {
    if (!pool)
        return;
    pool->watch = watch;
    pool->watcher = self;
}
