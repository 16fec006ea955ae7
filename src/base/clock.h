/* Time for progress lines, metrics and benchmarks; no result depends on it. */
#ifndef SY_BASE_CLOCK_H
#define SY_BASE_CLOCK_H

#include <time.h>

/* Seconds of the monotonic clock. */
static inline double sy_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds that processors have spent on this process, all threads added. */
static inline double sy_clock_cpu(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds that a processor has spent on this thread. */
static inline double sy_clock_thread(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
