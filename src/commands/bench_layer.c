/* switchyard bench moe, second line: an MoE layer, forward and backward, beside the register-only peak of
 * the same moment, D 512 and F 256, routed as in bench_routing.h; bench layers has it in many sizes:
 *
 *     forward     choose, gather, W13, SwiGLU, W2, combine
 *     backward    gather dy, back through W2, SwiGLU and W13 in two products, weights' gradients, combine
 *
 * 18 T K D F FLOPs; medians of 9 rounds, all in one run. bench/compare_torch.py has PyTorch do the same.
 */
#include <assert.h>

#include "base/clock.h"
#include "base/rng.h"
#include "commands/bench.h"
#include "commands/bench_routing.h"
#include "moe/mlp.h"
#include "train/io.h"

enum { F = 256 };

struct layer {
    struct sy_bench_routing r;
    float *row_w, *row_dw, *dw13, *dw2;
    struct sy_mat x, in, gu, scratch, y_rows, y, dy, dy_rows, dx_rows, dx, w13, w2;
    struct sy_mlp_grad grad;
    struct sy_mlp_cache cache;
    struct sy_mlp_weights weights;
};

static void take(const struct sy_exec *x, struct sy_arena *a, struct layer *l) {
    static const char *const tag = "bench";
    enum sy_dtype t = x->dtype;
    int64_t T = l->r.tokens, E = l->r.experts, n = T * K;
    sy_bench_routing_take(x, a, &l->r);
    l->row_w = sy_take_f32(a, tag, n);
    l->row_dw = sy_take_f32(a, tag, n);
    l->dw13 = sy_take_f32(a, tag, E * 2 * F * D);
    l->dw2 = sy_take_f32(a, tag, E * D * F);
    struct sy_mat *const of_tokens[] = {&l->x, &l->y, &l->dy, &l->dx};
    for (size_t i = 0; i < sizeof of_tokens / sizeof *of_tokens; i++)
        *of_tokens[i] = sy_take_mat(a, tag, T, D, t);
    struct sy_mat *const of_rows[] = {&l->in, &l->y_rows, &l->dy_rows, &l->dx_rows};
    for (size_t i = 0; i < sizeof of_rows / sizeof *of_rows; i++)
        *of_rows[i] = sy_take_mat(a, tag, n, D, t);
    l->gu = sy_take_mat(a, tag, n, 2 * F, t);
    l->scratch = sy_take_mat(a, tag, n, F, SY_F32);
    l->w13 = sy_take_mat(a, tag, E * 2 * F, D, t);
    l->w2 = sy_take_mat(a, tag, E * D, F, t);
    sy_mlp_take_grad(a, t, n, F, &l->grad);
    sy_mlp_take_cache(x, a, E, D, F, &l->cache);
}

static void fill(struct sy_mat m, int64_t n, float size) {
    for (int64_t i = 0; i < n; i++) {
        float v = size * ((float)(sy_mix64((uint64_t)i) >> 40) * 0x1p-23f - 1.0f);
        if (m.dtype == SY_F32)
            ((float *)m.data)[i] = v;
        else
            ((uint16_t *)m.data)[i] = (uint16_t)(sy_f32_bits(v) >> 16);
    }
}

static void forward(const struct sy_exec *x, struct layer *l) {
    sy_bench_routing_choose(x, &l->r);
    sy_dispatch_rows(x, &l->r.d, D, NULL, l->x, l->in);
    sy_mlp_fwd(x, &l->weights,
               &(struct sy_mlp_fwd){.rows = sy_dispatch_rows_of(&l->r.d),
                                    .in = l->in,
                                    .gu = l->gu,
                                    .scratch = l->scratch,
                                    .y = l->y_rows});
    sy_dispatch_combine(x, &l->r.d,
                        &(struct sy_dispatch_sum){.width = D, .w = l->r.w, .rows = l->y_rows, .y = l->y});
}

/* Both weights' gradients, dW13 of (dgu, in) and dW2 of (dy, h). */
static void weights(const struct sy_exec *x, struct layer *l) {
    struct sy_dw w13 = {.rows = sy_dispatch_rows_of(&l->r.d), .n_segments = SEQUENCES}, w2 = w13;
    w13.m = 2 * F;
    w13.n = D;
    w13.dy = l->grad.dgu;
    w13.x = l->in;
    w13.c = l->dw13;
    w2.m = D;
    w2.n = F;
    w2.dy = l->dy_rows;
    w2.x = l->grad.h;
    w2.c = l->dw2;
    w13.c_step = w13.m * w13.n;
    w2.c_step = w2.m * w2.n;
    x->ops->linear_dw(x, &(struct sy_linear_dw){(struct sy_dw[]){w13, w2}, 2});
}

static void backward(const struct sy_exec *x, struct layer *l) {
    sy_dispatch_rows(x, &l->r.d, D, NULL, l->dy, l->dy_rows);
    sy_dispatch_to_rows(x, &l->r.d, l->r.w, l->row_w);
    sy_mlp_bwd(x, &l->weights,
               &(struct sy_mlp_bwd){.rows = sy_dispatch_rows_of(&l->r.d),
                                    .dy = l->dy_rows,
                                    .gu = l->gu,
                                    .scratch = l->scratch,
                                    .row_w = l->row_w,
                                    .row_dw = l->row_dw,
                                    .grad = &l->grad,
                                    .dx = l->dx_rows});
    weights(x, l);
    sy_dispatch_to_routes(x, &l->r.d, l->row_dw, l->r.dw);
    sy_bench_routing_back(x, &l->r);
    sy_dispatch_combine(x, &l->r.d, &(struct sy_dispatch_sum){.width = D, .rows = l->dx_rows, .y = l->dx});
}

static void measure(const struct sy_exec *x, struct layer *l, int rounds, struct sy_bench_layer_result *out) {
    double flops = 18.0 * (double)l->r.tokens * K * D * F;
    double fwd[ROUNDS], bwd[ROUNDS], all[ROUNDS], peak[ROUNDS], share[ROUNDS];
    for (int i = -2; i < rounds; i++) {
        double before = sy_bench_peak(x), t0 = sy_clock();
        forward(x, l);
        double t1 = sy_clock();
        backward(x, l);
        double t2 = sy_clock(), after = sy_bench_peak(x);
        if (i < 0)
            continue;
        fwd[i] = t1 - t0;
        bwd[i] = t2 - t1;
        all[i] = t2 - t0;
        peak[i] = before > after ? before : after;
        share[i] = peak[i] > 0 ? flops / all[i] / peak[i] : 0;
    }
    *out = (struct sy_bench_layer_result){.tokens = l->r.tokens,
                                          .experts = l->r.experts,
                                          .fwd = sy_bench_median(rounds, fwd),
                                          .bwd = sy_bench_median(rounds, bwd),
                                          .all = sy_bench_median(rounds, all),
                                          .flops = flops,
                                          .peak = sy_bench_median(rounds, peak),
                                          .share = sy_bench_median(rounds, share)};
}

sy_status sy_bench_layer_of(const struct sy_exec *x, int64_t tokens, int64_t experts, int rounds,
                            struct sy_bench_layer_result *out) {
    struct layer l = {.r = {.tokens = tokens, .experts = experts}};
    struct sy_arena need = sy_arena_measure(), a;
    assert(rounds <= ROUNDS);
    take(x, &need, &l);
    SY_TRY(sy_arena_init(need.used + SY_ARENA_ALIGN, "a layer of bench", &a));
    take(x, &a, &l);
    fill(l.x, tokens * D, 1.0f);
    fill(l.dy, tokens * D, 1.0f);
    fill(l.w13, experts * 2 * F * D, 0.05f);
    fill(l.w2, experts * D * F, 0.05f);
    sy_bench_routing_fill(&l.r);
    l.weights = sy_mlp_weights_of(x, &(struct sy_mlp_stored){experts, D, F, l.w13, l.w2}, 1, &l.cache);
    measure(x, &l, rounds, out);
    sy_arena_fini(&a);
    return SY_OK;
}

sy_status sy_bench_layer(struct sy_exec *x, const struct sy_bench_options *o, const struct sy_io *io) {
    struct sy_bench_layer_result r;
    SY_TRY(sy_bench_layer_of(x, MOE_TOKENS, MOE_EXPERTS, ROUNDS, &r));
    const char *format =
        o->json
            ? "{\"bench\":\"layer\",\"class\":\"%s\",\"tier\":\"%s\",\"threads\":%d,\"T\":%d,\"D\":%d,\"F\":%"
              "d,\"E\":%d,"
              "\"K\":%d,"
              "\"fwd_ms\":%.3f,\"bwd_ms\":%.3f,\"ms\":%.3f,\"gflops\":%.1f,\"peak_gflops\":%.1f,"
              "\"share\":%.3f}\n"
            : "layer  %s  %s  %d threads  T %d D %d F %d E %d K %d  fwd %.2f ms, bwd %.2f ms, both %.2f ms: "
              "%.1f GFLOP/s, peak %.1f, share %.2f\n";
    sy_io_printf(io, format, sy_class_name(x->cls), x->ops->tier, sy_pool_size(x->pool), MOE_TOKENS, D, F,
                 MOE_EXPERTS, K, 1e3 * r.fwd, 1e3 * r.bwd, 1e3 * r.all, 1e-9 * r.flops / r.all, 1e-9 * r.peak,
                 r.share);
    return SY_OK;
}
