/* switchyard bench moe, first line: routing, permute and combine, forward and backward, beside memcpy of the
 * rows that they must move.
 *
 * T 4096, D 512, E 64, K 6 in the stored type: forward moves N = T K rows to the experts and back, backward
 * the same; memcpy copies 4 N rows with the same threads. Median of 9 rounds, all in one run.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "commands/bench.h"
#include "commands/bench_routing.h"
#include "train/io.h"

enum { T = MOE_TOKENS, E = MOE_EXPERTS };

struct buffers {
    struct sy_bench_routing r;
    struct sy_mat x, rows, y;
};

static void take(const struct sy_exec *x, struct sy_arena *a, struct buffers *b) {
    static const char *const tag = "bench";
    enum sy_dtype t = x->dtype;
    sy_bench_routing_take(x, a, &b->r);
    b->x = sy_take_mat(a, tag, T, D, t);
    b->rows = sy_take_mat(a, tag, T * K, D, t);
    b->y = sy_take_mat(a, tag, T * K, D, t);
}

static void forward(const struct sy_exec *x, struct buffers *b) {
    sy_bench_routing_choose(x, &b->r);
    sy_dispatch_rows(x, &b->r.d, D, NULL, b->x, b->rows);
    sy_dispatch_combine(x, &b->r.d,
                        &(struct sy_dispatch_sum){.width = D, .w = b->r.w, .rows = b->rows, .y = b->y});
}

static void backward(const struct sy_exec *x, struct buffers *b) {
    sy_dispatch_rows(x, &b->r.d, D, NULL, b->x, b->rows);
    sy_bench_routing_back(x, &b->r);
    sy_dispatch_combine(x, &b->r.d, &(struct sy_dispatch_sum){.width = D, .rows = b->rows, .y = b->y});
}

static sy_status measure(const struct sy_exec *x, struct buffers *b, int json, const struct sy_io *io) {
    double fwd[ROUNDS], bwd[ROUNDS], copy[ROUNDS];
    int64_t bytes = (int64_t)T * K * D * (int64_t)sy_dtype_bytes(x->dtype);
    sy_bench_routing_fill(&b->r);
    for (int round = -2; round < ROUNDS; round++) {
        double t0 = sy_clock();
        forward(x, b);
        double t1 = sy_clock();
        backward(x, b);
        double t2 = sy_clock();
        for (int i = 0; i < 4; i++)
            sy_bench_copy(x, b->y.data, b->rows.data, bytes);
        if (round < 0)
            continue;
        fwd[round] = t1 - t0;
        bwd[round] = t2 - t1;
        copy[round] = sy_clock() - t2;
    }
    qsort(fwd, ROUNDS, sizeof *fwd, sy_bench_by_time);
    qsort(bwd, ROUNDS, sizeof *bwd, sy_bench_by_time);
    qsort(copy, ROUNDS, sizeof *copy, sy_bench_by_time);
    double f = fwd[ROUNDS / 2] * 1e3, r = bwd[ROUNDS / 2] * 1e3, m = copy[ROUNDS / 2] * 1e3;
    const char *format =
        json ? "{\"bench\":\"moe\",\"class\":\"%s\",\"tier\":\"%s\",\"threads\":%d,\"T\":%d,\"D\":%d,\"E\":%"
               "d,\"K\":%d,\"fwd_ms\":%.3f,"
               "\"bwd_ms\":%.3f,\"memcpy_ms\":%.3f,\"ratio\":%.3f}\n"
             : "moe  %s  %s  %d threads  T %d D %d E %d K %d  fwd %.2f ms, bwd %.2f ms, memcpy "
               "of the rows %.2f ms: "
               "%.2f times\n";
    sy_io_printf(io, format, sy_class_name(x->cls), x->ops->tier, sy_pool_size(x->pool), T, D, E, K, f, r, m,
                 (f + r) / m);
    return SY_OK;
}

sy_status sy_bench_moe(struct sy_exec *x, const struct sy_bench_options *o, const struct sy_io *io) {
    struct buffers b = {.r = {.tokens = T, .experts = E}};
    struct sy_arena need = sy_arena_measure(), arena;
    SY_TRY(sy_bench_choose(o, x));
    take(x, &need, &b);
    SY_TRY(sy_arena_init(need.used + SY_ARENA_ALIGN, "bench moe", &arena));
    take(x, &arena, &b);
    sy_status status = measure(x, &b, o->json, io);
    sy_arena_fini(&arena);
    return status == SY_OK ? sy_bench_layer(x, o, io) : status;
}
