/* A pool of pthreads with a fixed partition.
 *
 * sy_pool_run calls fn(arg, i, n) once for each i in 0..n-1 and returns when all are done: i = 0 on the
 * calling thread, which also takes the shares that nobody has begun when it is done with that one. No share
 * may wait for another. What a share does depends on (i, n) alone; results must not (NUMERICS 5: threads
 * have no effect on bits). Workers spin briefly, then sleep. One caller at a time.
 */
#ifndef SY_BASE_THREADS_H
#define SY_BASE_THREADS_H

#include "base/status.h"

struct sy_pool;

/* Local. n_threads >= 1; 0: one per processor that this process may use (cpus.h). Errors: ERR_USAGE out of
 * 0..1024, ERR_RUNTIME no thread. */
sy_status sy_pool_create(int n_threads, struct sy_pool **out);
void sy_pool_destroy(struct sy_pool *pool);
int sy_pool_size(const struct sy_pool *pool); /* 1 for NULL */

/* Local. With pool NULL, fn runs once as (arg, 0, 1). */
void sy_pool_run(struct sy_pool *pool, void (*fn)(void *arg, int thread, int n_threads), void *arg);
/* Local. The same, each share by its own thread, whenever that comes: for what is to happen there, such as
 * the first writing of memory. */
void sy_pool_run_each(struct sy_pool *pool, void (*fn)(void *arg, int thread, int n_threads), void *arg);

/* Local. How often sy_pool_run was called since creation; 0 for NULL. For the caller of sy_pool_run alone. */
int64_t sy_pool_runs(const struct sy_pool *pool);

/* Local. From the next run on, `watch` is told after each run of several threads when each of them was at it
 * (base/clock.h), on the caller's thread; NULL: nobody is, at no cost. For the caller of sy_pool_run alone;
 * pool NULL: nothing. */
struct sy_pool_share {
    double begin, end;
    double cpu_begin, cpu_end; /* of this thread's processor time */
};
void sy_pool_watch(struct sy_pool *pool, void (*watch)(void *self, int n, const struct sy_pool_share *share),
                   void *self);

/* The i-th of `parts` nearly equal pieces of 0..n-1, cut at multiples of `grain`. */
static inline void sy_range(int64_t n, int64_t grain, int i, int parts, int64_t *lo, int64_t *hi) {
    int64_t blocks = (n + grain - 1) / grain;
    int64_t a = blocks * i / parts * grain, b = blocks * (i + 1) / parts * grain;
    *lo = a < n ? a : n;
    *hi = b < n ? b : n;
}

#endif
