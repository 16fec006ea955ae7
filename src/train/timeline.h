/* What a rank's threads did when, as a file that Perfetto and chrome://tracing open: Chrome's trace events,
 * one a line.
 *
 *     pid 1 + r              rank r
 *     tid 10000 r + 1        its own thread: step > phase (forward, backward, …) > part > op > share of thread 0
 *     tid 10000 r + 1 + i    thread i of its pool: shares of ops
 *     tid 10000 r + 1001     the GPU's stream: ops by its own clock; its thread has when they were enqueued
 *
 * No number is 0, which viewers take for the idle process, and none is of two ranks' threads.
 *
 * Events come when they end, so that a span stands behind what it holds. An op has its part, its operands'
 * shapes, bytes and floating-point operations (ops/work.h).
 */
#ifndef SY_TRAIN_TIMELINE_H
#define SY_TRAIN_TIMELINE_H

#include <stdio.h>

#include "ops/work.h"

enum { SY_TIMELINE_RANK = 10000, SY_TIMELINE_STREAM = 1000 };

struct sy_timeline {
    FILE *file; /* NULL: nothing is written */
    char path[4200];
    int rank, stream; /* stream: the exec computes on a GPU */
    const struct sy_exec *exec;
    double zero; /* of all times */
    int64_t events;
    const char *phase, *op; /* that goes on; NULL: none */
    double phase_began;
    struct sy_timeline_op { /* of a GPU, whose times are known at a step's end */
        const char *name, *part;
        int64_t from, to; /* stamps of the stream */
        struct sy_op_work work;
    } * pending;
    int64_t n_pending, capacity;
};

/* Local. The file, with names of what is in it. threads: of the pool. Errors: ERR_IO. To be closed. */
sy_status sy_timeline_open(const char *path, int rank, const struct sy_exec *exec, double zero,
                           struct sy_timeline *out);
/* Local. Errors: ERR_IO (the disk is full). Does nothing the second time. */
sy_status sy_timeline_close(struct sy_timeline *t);

/* Local. Another phase of the step, NULL: none, from `now` on. */
void sy_timeline_phase(struct sy_timeline *t, const char *phase, double now);
/* Local. A span of the rank's own thread; step: its number, or -1. */
void sy_timeline_span(struct sy_timeline *t, const char *name, double begin, double end, int64_t step);
/* Local. An op: before it is called, and after. */
void sy_timeline_op_begin(struct sy_timeline *t, const char *name);
void sy_timeline_op_end(struct sy_timeline *t, const char *part, const struct sy_op_work *work, double begin,
                        double end);
/* Local. A step begins and ends; nothing of it is still being done. */
void sy_timeline_step_begin(struct sy_timeline *t);
void sy_timeline_step_end(struct sy_timeline *t);

#endif
