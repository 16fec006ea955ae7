/* switchyard bench ops: every op of the list in every class and tier, one thread, on the made-up calls that
 * the tiers are compared with (ops/calls.h). Memory is made anew before each time that is taken, so that an
 * op in place always meets the same values. */
#include <stdlib.h>

#include "base/clock.h"
#include "commands/bench.h"
#include "ops/calls.h"
#include "train/io.h"

enum { LEAST = 5, MOST = 201, SEED = 1 };
static const double ENOUGH = 0.02; /* seconds of the op, then no more times are taken */

struct taken {
    double seconds, bytes;
};

/* Median time of a call, and its bytes. */
static sy_status measure(const struct sy_exec *x, int op, struct taken *out) {
    double times[MOST], all = 0.0;
    int n = 0;
    struct sy_call *c;
    SY_TRY(sy_call_create(x, op, SY_CALL_TYPICAL, SEED, &c));
    while (n < MOST && (n < LEAST || all < ENOUGH)) {
        sy_call_reset(x, c);
        double begin = sy_clock();
        sy_call_run(x, c);
        all += times[n] = sy_clock() - begin;
        n++;
    }
    out->bytes = (double)sy_call_bytes(c);
    sy_call_destroy(c);
    qsort(times, (size_t)n, sizeof *times, sy_bench_by_time);
    out->seconds = times[n / 2];
    return SY_OK;
}

static void print(const struct sy_io *io, int json, int op, const struct sy_exec *x, const struct taken *t,
                  double ref) {
    const char *cls = sy_class_name(x->cls), *name = sy_calls_op(op);
    if (json)
        sy_io_printf(
            io,
            "{\"op\":\"%s\",\"class\":\"%s\",\"tier\":\"%s\",\"threads\":1,\"us\":%.3f,\"times_ref\":%.3f,"
            "\"gbytes_s\":%.3f}\n",
            name, cls, x->ops->tier, t->seconds * 1e6, ref / t->seconds, 1e-9 * t->bytes / t->seconds);
    else
        sy_io_printf(io, "%-16s  %-4s  %-11s  %10.1f us  %8.2f x ref  %7.2f GB/s\n", name, cls, x->ops->tier,
                     t->seconds * 1e6, ref / t->seconds, 1e-9 * t->bytes / t->seconds);
}

/* In every tier that runs here, the reference first. */
static sy_status tiers(const struct sy_io *io, int json, int op, struct sy_exec *x) {
    struct taken t;
    double ref = 0.0;
    for (int tier = 0; tier < sy_ops_n_tiers(); tier++) {
        const char *why;
        if (!(x->ops = sy_ops_tier(tier, &why)))
            continue;
        SY_TRY(measure(x, op, &t));
        ref = tier == 0 ? t.seconds : ref;
        print(io, json, op, x, &t, ref);
    }
    return SY_OK;
}

static sy_status one_op(const struct sy_io *io, int json, int op, struct sy_exec *x) {
    for (int cls = 0; cls < SY_N_CLASSES; cls++) {
        sy_exec_set_class(x, (enum sy_numeric_class)cls);
        SY_TRY(tiers(io, json, op, x));
    }
    return SY_OK;
}

sy_status sy_bench_ops(const char *name, int json, const struct sy_io *io) {
    struct sy_exec x = {.device = sy_device_cpu(), .scratch_bytes = sy_calls_scratch_bytes()};
    struct sy_arena arena;
    int first = 0, end = sy_calls_n_ops();
    while (name && first < end && strcmp(sy_calls_op(first), name) != 0)
        first++;
    if (first == end)
        SY_FAIL(SY_ERR_USAGE, "bench ops %s: there is no op of that name; `switchyard info` lists them",
                name);
    SY_TRY(sy_arena_init(x.scratch_bytes + SY_ARENA_ALIGN, "bench ops", &arena));
    x.scratch = sy_arena_take(&arena, "scratch", x.scratch_bytes, 1);
    sy_status status = SY_OK;
    for (int op = first; op < (name ? first + 1 : end) && status == SY_OK; op++)
        status = one_op(io, json, op, &x);
    sy_arena_fini(&arena);
    return status;
}
