/* switchyard bench: GFLOP/s of products, by class, tier and shape; the ops' own benchmark mode. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/fmath.h"
#include "model/layer.h"
#include "commands/bench.h"
#include "train/io.h"

static void fill(void *p, enum sy_dtype t, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float f = (float)((i * 2654435761u >> 8) % 2001) * 0x1p-10f - 1.0f;
        if (t == SY_F32)
            ((float *)p)[i] = f;
        else
            ((uint16_t *)p)[i] = (uint16_t)(sy_f32_bits(f) >> 16);
    }
}

int sy_bench_by_time(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median of 5 timings of at least 50 ms each of one of the three products of n^3. */
struct product {
    struct sy_linear linear;
    struct sy_linear_dx dx;
    struct sy_dw dw;
};
enum { FORWARD, INPUTS, WEIGHTS, N_PRODUCTS };

static void call(const struct sy_exec *x, const struct product *p, int which) {
    if (which == FORWARD)
        x->ops->linear(x, &p->linear);
    else if (which == INPUTS)
        x->ops->linear_dx(x, &p->dx);
    else
        x->ops->linear_dw(x, &(struct sy_linear_dw){&p->dw, 1});
}

static double seconds_of(const struct sy_exec *x, const struct product *p, int which) {
    double times[5];
    for (int i = 0; i < 5; i++) {
        int reps = 0;
        double t0 = sy_clock();
        do {
            call(x, p, which);
            reps++;
        } while (sy_clock() - t0 < 0.05);
        times[i] = (sy_clock() - t0) / reps;
    }
    qsort(times, 5, sizeof *times, sy_bench_by_time);
    return times[2];
}

static sy_status one(const struct sy_io *io, int json, int tier, enum sy_numeric_class cls, int64_t n) {
    static const char *const layout[] = {"x W^T", "dy W", "dy^T x"};
    const char *why;
    struct sy_exec x = {.ops = sy_ops_tier(tier, &why), .device = sy_device_cpu()};
    if (!x.ops)
        return SY_OK;
    sy_exec_set_class(&x, cls);
    struct sy_arena a;
    x.scratch_bytes = sy_ops_scratch_bytes(n, 64, 64);
    SY_TRY(sy_arena_init(3 * (size_t)(n * n) * 4 + x.scratch_bytes + 1024, "bench", &a));
    struct sy_mat p = sy_take_mat(&a, "bench", n, n, x.dtype), q = sy_take_mat(&a, "bench", n, n, x.dtype);
    struct sy_mat c = sy_take_mat(&a, "bench", n, n, SY_F32);
    x.scratch = sy_arena_take(&a, "bench", x.scratch_bytes, 1);
    fill(p.data, x.dtype, n * n);
    fill(q.data, x.dtype, n * n);
    struct sy_rows rows = sy_rows_dense(1, n);
    struct product products = {
        .linear = {.rows = rows, .k = n, .n = n, .x = p, .w = {.m = sy_mat_t(q)}, .y = c},
        .dx = {.rows = rows, .n = n, .n_maps = 1, .map = {{p, {.m = q}, n}}, .dx = c},
        .dw = {.rows = rows, .n_segments = 1, .m = n, .n = n, .dy = p, .x = q, .c = c.data}};
    for (int t = 0; t < N_PRODUCTS; t++) {
        double rate = 2.0 * (double)(n * n * n) / seconds_of(&x, &products, t) * 1e-9;
        if (json)
            sy_io_printf(io,
                         "{\"op\":\"gemm\",\"class\":\"%s\",\"tier\":\"%s\",\"layout\":\"%s\",\"n\":%lld,"
                         "\"threads\":1,"
                         "\"gflops\":%.2f}\n",
                         sy_class_name(cls), x.ops->tier, layout[t], (long long)n, rate);
        else
            sy_io_printf(io, "gemm  %-5s %-11s %-7s %5lld^3  %8.1f GFLOP/s on one core\n", sy_class_name(cls),
                         x.ops->tier, layout[t], (long long)n, rate);
    }
    sy_arena_fini(&a);
    return SY_OK;
}

sy_status sy_bench(const char *what, int json, const struct sy_io *io) {
    if (strcmp(what, "moe") == 0)
        return sy_bench_moe(json, io);
    if (strcmp(what, "gemm") != 0)
        SY_FAIL(SY_ERR_USAGE, "bench %s: must be gemm, moe, ops or model%s", what,
                strcmp(what, "attention") == 0 ? "; attention alone is timed on a GPU: --device cuda" : "");
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        for (int tier = 0; tier < sy_ops_n_tiers(); tier++)
            SY_TRY(one(io, json, tier, (enum sy_numeric_class)cls,
                       tier == 0 || cls == SY_NUMERIC_SM90 ? 128 : 512));
    return SY_OK;
}
