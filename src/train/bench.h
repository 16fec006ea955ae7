/* The benchmarks behind `switchyard bench`, each in its own file. */
#ifndef SY_TRAIN_BENCH_H
#define SY_TRAIN_BENCH_H

#include "model/layer.h"

sy_status sy_bench_moe(int json, const struct sy_io *io);

#endif
