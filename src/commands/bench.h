/* The benchmarks behind `switchyard bench`, each in its own file. */
#ifndef SY_COMMANDS_BENCH_H
#define SY_COMMANDS_BENCH_H

#include "model/layer.h"

/* qsort of doubles, ascending: for medians. */
int sy_bench_by_time(const void *a, const void *b);
/* Sorts them. */
double sy_bench_median(int n, double *a);

/* A name as JSON, the caller's: free. Errors: ERR_MEMORY. */
sy_status sy_bench_quote(const char *name, char **out);

/* FLOP/s of the peak's loop (ops->peak) on all threads of x's pool now; 0: class and tier have none. */
double sy_bench_peak(const struct sy_exec *x);

/* memcpy by all threads of x's pool, a part each. */
void sy_bench_copy(const struct sy_exec *x, void *to, const void *from, int64_t bytes);

enum { SY_BENCH_STEPS = 64 }; /* of a scaling, at most */
enum { SY_BENCH_ROW = 2048 }; /* widest row of gemm and moe */

/* Local. Errors: ERR_USAGE a class or tier that there is not, ERR_UNAVAILABLE a tier that does not run
 * here. */
sy_status sy_bench_check(const struct sy_bench_options *o);
/* Whether a class and a tier are among those of the options. */
int sy_bench_takes(const struct sy_bench_options *o, int cls, int tier);
/* Local. x gets the class and tier of a layer: x86 and the fastest, where the options do not say. */
sy_status sy_bench_choose(const struct sy_bench_options *o, struct sy_exec *x);

/* x: pool and scratch. */
sy_status sy_bench_gemm(struct sy_exec *x, const struct sy_bench_options *o, const struct sy_io *io);
sy_status sy_bench_moe(struct sy_exec *x, const struct sy_bench_options *o, const struct sy_io *io);
sy_status sy_bench_layer(struct sy_exec *x, const struct sy_bench_options *o, const struct sy_io *io);
sy_status sy_bench_layers(struct sy_exec *x, const struct sy_bench_options *o, const struct sy_io *io);

/* An MoE layer as in bench_layer.c: medians of the rounds. */
struct sy_bench_layer_result {
    int64_t tokens, experts;
    double fwd, bwd, all; /* seconds */
    double flops, peak, share;
};
sy_status sy_bench_layer_of(const struct sy_exec *x, int64_t tokens, int64_t experts, int rounds,
                            struct sy_bench_layer_result *out);

#endif
