/* switchyard bench ops: every op of the list in every class and tier, one thread, on the made-up calls that
 * the tiers are compared with (ops/calls.h). Memory is made anew before each time that is taken, so that an
 * op in place always meets the same values.
 *
 * Before and after the times of an op stand the register-only peak of class and tier, and a copy of COPY
 * bytes, larger than caches. The share is that of the bound that takes longer: FLOPs at that peak, or bytes
 * at the copy's rate; above 1: the call fits into caches.
 */
#include <stdio.h>

#include "base/clock.h"
#include "base/sized.h"
#include "commands/bench.h"
#include "ops/calls.h"
#include "train/io.h"

enum { LEAST = 5, MOST = 201, SEED = 1, COPY = 64 << 20 };
static const double ENOUGH = 0.02; /* seconds of the op, then no more times are taken */

struct lab {
    struct sy_exec x;
    const struct sy_bench_options *o;
    const struct sy_io *io;
    char *copied; /* [2 COPY] */
};

struct taken {
    double seconds, peak, rate;
    struct sy_call_work work;
};

/* Median time of a call. */
static double time_of(const struct sy_exec *x, struct sy_call *c) {
    double times[MOST], all = 0.0;
    int n = 0;
    while (n < MOST && (n < LEAST || all < ENOUGH)) {
        sy_call_reset(x, c);
        double begin = sy_clock();
        sy_call_run(x, c);
        all += times[n] = sy_clock() - begin;
        n++;
    }
    return sy_bench_median(n, times);
}

static double larger(double a, double b) { return a > b ? a : b; }

/* Bytes a second that are read and written now. */
static double copy_rate(const struct lab *l) {
    double begin = sy_clock();
    sy_bench_copy(&l->x, l->copied, l->copied + COPY, COPY);
    return 2.0 * COPY / (sy_clock() - begin);
}

static sy_status measure(const struct lab *l, int op, struct taken *t) {
    struct sy_call *c;
    SY_TRY(sy_call_create(&l->x, op, SY_CALL_TYPICAL, SEED, &c));
    *t = (struct taken){.peak = sy_bench_peak(&l->x), .rate = copy_rate(l)};
    t->seconds = time_of(&l->x, c);
    t->peak = larger(t->peak, sy_bench_peak(&l->x));
    t->rate = larger(t->rate, copy_rate(l));
    sy_call_reset(&l->x, c);
    t->work = sy_call_work(&l->x, c);
    sy_call_destroy(c);
    return SY_OK;
}

/* A product's share where there is a peak; of an op without FLOPs the copy is the bound. */
static void print(const struct lab *l, int op, const struct taken *t, double ref) {
    const char *cls = sy_class_name(l->x.cls), *tier = l->x.ops->tier, *name = sy_calls_op(op);
    double flops = t->peak > 0 ? t->work.flops / t->peak : 0, bytes = t->work.bytes / t->rate, s = t->seconds;
    char share[64];
    int bounded = t->work.flops == 0 || t->peak > 0, json = l->o->json;
    if (bounded)
        snprintf(share, sizeof share, json ? "%.4f,\"bound\":\"%s\"" : "%.0f %% of the %s",
                 larger(flops, bytes) / s * (json ? 1 : 100), flops > bytes ? "peak" : "copy");
    else
        snprintf(share, sizeof share, json ? "null,\"bound\":null" : "no peak");
    if (json)
        sy_io_printf(l->io,
                     "{\"op\":\"%s\",\"class\":\"%s\",\"tier\":\"%s\",\"threads\":1,\"us\":%.3f,"
                     "\"times_ref\":%.3f,\"flops\":%.0f,\"gflops\":%.3f,\"bytes\":%.0f,\"gbytes_s\":%.3f,"
                     "\"peak_gflops\":%.2f,\"copy_gbytes_s\":%.2f,\"share\":%s}\n",
                     name, cls, tier, s * 1e6, ref > 0 ? ref / s : 0, t->work.flops, 1e-9 * t->work.flops / s,
                     t->work.bytes, 1e-9 * t->work.bytes / s, 1e-9 * t->peak, 1e-9 * t->rate, share);
    else
        sy_io_printf(
            l->io,
            "%-16s %-4s %-11s %10.1f us %8.2f x ref %9.3f MFLOP %8.2f GFLOP/s %7.2f GB/s; peak %7.1f, "
            "copy %5.1f: %s\n",
            name, cls, tier, s * 1e6, ref > 0 ? ref / s : 0, 1e-6 * t->work.flops, 1e-9 * t->work.flops / s,
            1e-9 * t->work.bytes / s, 1e-9 * t->peak, 1e-9 * t->rate, share);
}

/* In every tier that runs here, the reference first. */
static sy_status tiers(struct lab *l, int op) {
    struct taken t;
    double ref = 0.0;
    for (int tier = 0; tier < sy_ops_n_tiers(); tier++) {
        const char *why;
        if (!sy_bench_takes(l->o, (int)l->x.cls, tier) || !(l->x.ops = sy_ops_tier(tier, &why)))
            continue;
        SY_TRY(measure(l, op, &t));
        ref = tier == 0 ? t.seconds : ref;
        print(l, op, &t, ref);
    }
    return SY_OK;
}

static sy_status one_op(struct lab *l, int op) {
    for (int cls = 0; cls < SY_N_CLASSES; cls++) {
        sy_exec_set_class(&l->x, (enum sy_numeric_class)cls);
        SY_TRY(tiers(l, op));
    }
    return SY_OK;
}

static void take(struct lab *l, struct sy_arena *a) {
    l->x.scratch = sy_arena_take(a, "scratch", l->x.scratch_bytes, 1);
    l->copied = sy_arena_take(a, "copies", 2 * (size_t)COPY, 1);
}

sy_status sy_bench_ops(const char *name, const struct sy_bench_options *given, const struct sy_io *io) {
    struct sy_bench_options own;
    SY_TRY(SY_OPTIONS(sy_bench_options, given, &own));
    struct lab l = {
        .x = {.device = sy_device_cpu(), .scratch_bytes = sy_calls_scratch_bytes()}, .o = &own, .io = io};
    struct sy_arena need = sy_arena_measure(), arena;
    int first = 0, end = sy_calls_n_ops();
    while (name && first < end && strcmp(sy_calls_op(first), name) != 0)
        first++;
    if (first == end)
        SY_FAIL(SY_ERR_USAGE, "bench ops %s: there is no op of that name; `switchyard info` lists them",
                name);
    SY_TRY(sy_bench_check(&own));
    take(&l, &need);
    SY_TRY(sy_arena_init(need.used + SY_ARENA_ALIGN, "bench ops", &arena));
    take(&l, &arena);
    sy_status status = SY_OK;
    for (int op = first; op < (name ? first + 1 : end) && status == SY_OK; op++)
        status = one_op(&l, op);
    sy_arena_fini(&arena);
    return status;
}
