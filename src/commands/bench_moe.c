/* switchyard bench moe, first line: routing, permute and combine, forward and backward, beside memcpy of the
 * rows that they must move.
 *
 * T 4096, D 512, E 64, K 6 in the stored type: forward moves N = T K rows to the experts and back, backward
 * the same; memcpy copies 4 N rows with the same threads. Median of 9 rounds, all in one run.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/rng.h"
#include "moe/dispatch.h"
#include "commands/bench.h"
#include "train/io.h"

enum { T = 4096, D = 512, E = 64, K = 6, ROUNDS = 9, SEQUENCES = 8 };

struct buffers {
    float *logits, *s, *w, *dw, *bias;
    int32_t *ids;
    int64_t *bad; /* lowest token with a NaN */
    struct sy_dispatch d;
    struct sy_mat x, rows, y, dlogits;
};

static void take(const struct sy_exec *x, struct sy_arena *a, struct buffers *b) {
    static const char *const tag = "bench";
    enum sy_dtype t = x->dtype;
    b->logits = sy_take_f32(a, tag, T * E);
    b->s = sy_take_f32(a, tag, T * E);
    b->w = sy_take_f32(a, tag, T * K);
    b->dw = sy_take_f32(a, tag, T * K);
    b->bias = sy_take_f32(a, tag, E);
    b->ids = sy_arena_take(a, tag, T * K, sizeof(int32_t));
    b->bad = sy_arena_take(a, tag, 1, sizeof(int64_t));
    sy_dispatch_take(x, a, &(struct sy_dispatch_bounds){SEQUENCES, T, E, K}, &b->d);
    b->x = sy_take_mat(a, tag, T, D, t);
    b->rows = sy_take_mat(a, tag, T * K, D, t);
    b->y = sy_take_mat(a, tag, T * K, D, t);
    b->dlogits = sy_take_mat(a, tag, T, E, t);
}

static void forward(const struct sy_exec *x, struct buffers *b) {
    x->ops->router_fwd(x, &(struct sy_router_fwd){.tokens = T,
                                                  .experts = E,
                                                  .top_k = K,
                                                  .score_func = SY_ROUTER_SIGMOID,
                                                  .route_norm = 1,
                                                  .route_scale = 1.0f,
                                                  .seq_len = T / SEQUENCES,
                                                  .layers = 1,
                                                  .logits = b->logits,
                                                  .bias = b->bias,
                                                  .s = b->s,
                                                  .ids = b->ids,
                                                  .w = b->w,
                                                  .bad_token = b->bad});
    sy_dispatch_sort(x, &b->d, SEQUENCES, T / SEQUENCES, b->ids);
    sy_dispatch_rows(x, &b->d, D, NULL, b->x, b->rows);
    sy_dispatch_combine(x, &b->d,
                        &(struct sy_dispatch_sum){.width = D, .w = b->w, .rows = b->rows, .y = b->y});
}

static void backward(const struct sy_exec *x, struct buffers *b) {
    sy_dispatch_rows(x, &b->d, D, NULL, b->x, b->rows);
    x->ops->router_bwd(x, &(struct sy_router_bwd){.tokens = T,
                                                  .experts = E,
                                                  .top_k = K,
                                                  .score_func = SY_ROUTER_SIGMOID,
                                                  .route_norm = 1,
                                                  .route_scale = 1.0f,
                                                  .s = b->s,
                                                  .ids = b->ids,
                                                  .dw = b->dw,
                                                  .dlogits = b->dlogits});
    sy_dispatch_combine(x, &b->d, &(struct sy_dispatch_sum){.width = D, .rows = b->rows, .y = b->y});
}

struct copy {
    char *from, *to;
    int64_t bytes;
};

static void copy_part(void *arg, int thread, int n_threads) {
    struct copy *c = arg;
    int64_t lo, hi;
    sy_range(c->bytes, 4096, thread, n_threads, &lo, &hi);
    memcpy(c->to + lo, c->from + lo, (size_t)(hi - lo));
}

static sy_status measure(const struct sy_exec *x, struct buffers *b, int json, const struct sy_io *io) {
    double fwd[ROUNDS], bwd[ROUNDS], copy[ROUNDS];
    struct copy c = {b->rows.data, b->y.data, (int64_t)T * K * D * (int64_t)sy_dtype_bytes(x->dtype)};
    for (int64_t i = 0; i < T * E; i++)
        b->logits[i] = (float)(sy_mix64((uint64_t)i) >> 40) * 0x1p-22f - 2.0f;
    for (int round = -2; round < ROUNDS; round++) {
        double t0 = sy_clock();
        forward(x, b);
        double t1 = sy_clock();
        backward(x, b);
        double t2 = sy_clock();
        for (int i = 0; i < 4; i++)
            sy_pool_run(x->pool, copy_part, &c);
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
    const char *format = json ? "{\"bench\":\"moe\",\"tier\":\"%s\",\"threads\":%d,\"T\":%d,\"D\":%d,\"E\":%"
                                "d,\"K\":%d,\"fwd_ms\":%.3f,"
                                "\"bwd_ms\":%.3f,\"memcpy_ms\":%.3f,\"ratio\":%.3f}\n"
                              : "moe  %s  %d threads  T %d D %d E %d K %d  fwd %.2f ms, bwd %.2f ms, memcpy "
                                "of the rows %.2f ms: "
                                "%.2f times\n";
    sy_io_printf(io, format, x->ops->tier, sy_pool_size(x->pool), T, D, E, K, f, r, m, (f + r) / m);
    return SY_OK;
}

sy_status sy_bench_moe(struct sy_exec *x, int json, const struct sy_io *io) {
    struct buffers b;
    struct sy_arena need = sy_arena_measure(), arena;
    sy_exec_set_class(x, SY_NUMERIC_X86);
    SY_TRY(sy_ops_select("auto", &x->ops));
    take(x, &need, &b);
    SY_TRY(sy_arena_init(need.used + SY_ARENA_ALIGN, "bench moe", &arena));
    take(x, &arena, &b);
    sy_status status = measure(x, &b, json, io);
    sy_arena_fini(&arena);
    return status == SY_OK ? sy_bench_layer(x, json, io) : status;
}
