/* The machine's peak for a class: the tier's loop (ref/peak.c) on all threads of a pool, timed. */
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "ops/ops.h"

enum { ROUNDS = 20 };
static const double SHORTEST = 5e-4; /* seconds of a round: of 20, some find the machine quiet */

struct loop {
    const struct sy_exec *x;
    int64_t rounds;
    struct sy_peak did; /* of thread 0; the others do the same */
};

static void loop_part(void *arg, int thread, int n_threads) {
    struct loop *l = arg;
    struct sy_peak did = l->x->ops->peak(l->x->cls, l->rounds);
    (void)n_threads;
    if (thread == 0)
        l->did = did;
}

static double seconds_of(struct loop *l) {
    double begin = sy_clock();
    sy_pool_run(l->x->pool, loop_part, l);
    return sy_clock() - begin;
}

static struct sy_peak measure(const struct sy_exec *x) {
    struct loop l = {.x = x, .rounds = 256};
    double best = seconds_of(&l), threads = sy_pool_size(x->pool);
    if (!l.did.instruction)
        return l.did;
    for (; best < SHORTEST; l.rounds *= 2)
        best = seconds_of(&l);
    double rate = 0;
    for (int i = 0; i < ROUNDS; i++) {
        double now = threads * l.did.flops / seconds_of(&l);
        rate = now > rate ? now : rate;
    }
    return (struct sy_peak){l.did.instruction, rate};
}

struct sy_peak sy_ops_peak_now(const struct sy_exec *x, double seconds) {
    struct loop l = {.x = x, .rounds = 4096};
    double took;
    do {
        l.rounds *= 2;
        took = seconds_of(&l);
    } while (l.did.instruction && took < seconds);
    return (struct sy_peak){l.did.instruction, l.did.flops * sy_pool_size(x->pool) / took};
}

struct kept {
    struct kept *next;
    const char *tier; /* of a tier's table: static */
    enum sy_numeric_class cls;
    int threads;
    struct sy_peak peak;
};

/* Kept for the process's life, one for each tier, class and number of threads that was asked for. */
struct sy_peak sy_ops_peak(const struct sy_exec *x) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static struct kept *all;
    int threads = sy_pool_size(x->pool);
    pthread_mutex_lock(&mutex);
    struct kept *k = all;
    while (k && (strcmp(k->tier, x->ops->tier) != 0 || k->cls != x->cls || k->threads != threads))
        k = k->next;
    struct sy_peak peak = k ? k->peak : measure(x);
    if (!k && (k = malloc(sizeof *k))) {
        *k = (struct kept){all, x->ops->tier, x->cls, threads, peak};
        all = k;
    }
    pthread_mutex_unlock(&mutex);
    return peak;
}
