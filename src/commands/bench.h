/* The benchmarks behind `switchyard bench`, each in its own file. */
#ifndef SY_COMMANDS_BENCH_H
#define SY_COMMANDS_BENCH_H

#include "model/layer.h"

/* qsort of doubles, ascending: for medians. */
int sy_bench_by_time(const void *a, const void *b);

sy_status sy_bench_moe(int json, const struct sy_io *io);

#endif
