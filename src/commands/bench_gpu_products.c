/* switchyard bench gemm --device cuda: products in the sizes of trainings, dense ones and those of experts.
 * Routing is even and random, FLOP are those of the real rows: padding is the product's own loss.
 * bench/gpu/yardsticks.py gemm has the same shapes by cuBLAS and grouped_mm. */
#include <stdio.h>

#include "commands/bench_gpu.h"

enum { NAME = 80 };

/* --- dense ---------------------------------------------------------------------------------------------- */

static void dense(struct sy_gpu_bench *b, const struct sy_gpu_dense *s) {
    int64_t m = s->m, n = s->n, k = s->k;
    int mark = b->n_memory;
    double flops = 2.0 * (double)m * (double)n * (double)k;
    struct sy_mat x = sy_gpu_stored(b, m, k, 1.0), w = sy_gpu_stored(b, n, k, 1.0),
                  y = sy_gpu_stored(b, m, n, 1.0), dx = sy_gpu_stored(b, m, k, 1.0);
    float *dw = sy_gpu_take(b, n * k * 4);
    struct sy_rows rows = sy_rows_dense(1, m);
    char name[NAME];
    snprintf(name, sizeof name, "%lld x %lld x %lld", (long long)m, (long long)n, (long long)k);
    SY_GPU_ROW(b, linear, sy_linear, name, flops, flops,
               {.rows = rows, .k = k, .n = n, .x = x, .w = {.m = sy_mat_t(w)}, .y = y});
    SY_GPU_ROW(b, linear_dx, sy_linear_dx, name, flops, flops,
               {.rows = rows, .n = k, .n_maps = 1, .map = {{y, {.m = w}, n}}, .dx = dx});
    for (int fold = 0; fold < 2; fold++) {
        struct sy_dw leaf = {
            .rows = rows, .n_segments = 1, .m = n, .n = k, .dy = y, .x = x, .c = dw, .fold = fold};
        snprintf(name, sizeof name, "%lld x %lld, %lld rows, %s", (long long)n, (long long)k, (long long)m,
                 fold ? "fold" : "leaf");
        SY_GPU_ROW(b, linear_dw, sy_linear_dw, name, flops, flops, {&leaf, 1});
    }
    sy_gpu_give(b, mark);
}

static void logits(struct sy_gpu_bench *b) {
    struct sy_gpu_dense s = b->sizes->logits;
    int mark = b->n_memory;
    struct sy_mat x = sy_gpu_stored(b, s.m, s.k, 1.0), w = sy_gpu_stored(b, s.n, s.k, 0.02);
    struct sy_mat y = sy_mat_of(sy_gpu_take(b, s.m * s.n * 4), SY_F32, s.n);
    double flops = 2.0 * (double)s.m * (double)s.n * (double)s.k;
    char name[NAME];
    snprintf(name, sizeof name, "logits %lld x %lld x %lld", (long long)s.m, (long long)s.n, (long long)s.k);
    SY_GPU_ROW(b, linear, sy_linear, name, flops, flops,
               {.rows = sy_rows_dense(1, s.m), .k = s.k, .n = s.n, .x = x, .w = {.m = sy_mat_t(w)}, .y = y});
    sy_gpu_give(b, mark);
}

/* --- experts -------------------------------------------------------------------------------------------- */

struct moe {
    const struct sy_gpu_experts *s;
    struct sy_rows rows;
    double flops; /* of one product of [rows, d] and [d, f] */
    struct sy_mat x, y, gu, dgu, h, w13, w2;
    struct sy_mat a; /* fp32 */
    float *w, *dw, *c;
    struct sy_mat tokens; /* [T, d], whose rows `names` names */
    struct sy_named_rows names;
};

static const char *named(const struct moe *t, const char *what, char name[NAME]) {
    snprintf(name, NAME, "%s %s", t->s->name, what);
    return name;
}

static void forward(struct sy_gpu_bench *b, const struct moe *t) {
    int64_t d = t->s->d, f = t->s->f;
    char name[NAME];
    for (int gathers = 0; gathers <= b->x.ops->gathers; gathers++)
        SY_GPU_ROW(b, linear, sy_linear,
                   named(t, gathers ? "up with SwiGLU, gathered" : "up with SwiGLU", name), flops,
                   2 * t->flops,
                   {.rows = t->rows,
                    .k = d,
                    .n = 2 * f,
                    .x = gathers ? t->tokens : t->x,
                    .w = {.m = sy_mat_t(t->w13), .step = 2 * f * d},
                    .y = t->gu,
                    .epilogue = SY_EPILOGUE_SWIGLU,
                    .h = t->h,
                    .named = gathers ? t->names : (struct sy_named_rows){0}});
    SY_GPU_ROW(
        b, linear, sy_linear, named(t, "down", name), flops, t->flops,
        {.rows = t->rows, .k = f, .n = d, .x = t->h, .w = {.m = sy_mat_t(t->w2), .step = d * f}, .y = t->y});
}

static void inputs(struct sy_gpu_bench *b, const struct moe *t) {
    int64_t d = t->s->d, f = t->s->f;
    char name[NAME];
    SY_GPU_ROW(b, linear_dx, sy_linear_dx, named(t, "dx of down, SwiGLU back", name), flops, t->flops,
               {.rows = t->rows,
                .n = f,
                .n_maps = 1,
                .map = {{t->y, {.m = t->w2, .step = d * f}, d}},
                .epilogue = SY_EPILOGUE_SWIGLU_BACK,
                .gu = t->gu,
                .a = t->a,
                .w = t->w,
                .dgu = t->dgu,
                .hw = t->h,
                .dw = t->dw});
    SY_GPU_ROW(b, linear_dx, sy_linear_dx, named(t, "dx of up", name), flops, 2 * t->flops,
               {.rows = t->rows,
                .n = d,
                .n_maps = 2,
                .map = {{t->dgu, {.m = t->w13, .step = 2 * f * d}, f},
                        {sy_mat_cols(t->dgu, f), {.m = sy_mat_rows(t->w13, f), .step = 2 * f * d}, f}},
                .dx = t->x});
}

static void leaves(struct sy_gpu_bench *b, const struct moe *t) {
    int64_t d = t->s->d, f = t->s->f;
    char name[NAME];
    for (int fold = 0; fold < 2; fold++) {
        struct sy_dw up = {.rows = t->rows,
                           .n_segments = 1,
                           .m = 2 * f,
                           .n = d,
                           .dy = t->dgu,
                           .x = t->x,
                           .c = t->c,
                           .c_step = 2 * f * d,
                           .fold = fold};
        struct sy_dw down = {.rows = t->rows,
                             .n_segments = 1,
                             .m = d,
                             .n = f,
                             .dy = t->y,
                             .x = t->h,
                             .c = t->c,
                             .c_step = d * f,
                             .fold = fold};
        SY_GPU_ROW(b, linear_dw, sy_linear_dw, named(t, fold ? "dW of up, fold" : "dW of up, leaf", name),
                   flops, 2 * t->flops, {&up, 1});
        SY_GPU_ROW(b, linear_dw, sy_linear_dw, named(t, fold ? "dW of down, fold" : "dW of down, leaf", name),
                   flops, t->flops, {&down, 1});
    }
}

/* Weights are small, so that outputs are about 1 and sigmoids are ordinary. */
static void experts(struct sy_gpu_bench *b, const struct sy_gpu_experts *s) {
    int mark = b->n_memory;
    int64_t d = s->d, f = s->f;
    struct sy_gpu_routes routes = sy_gpu_route(b, 1, s->tokens, s->experts, s->top_k);
    struct sy_rows rows = routes.rows;
    int64_t n = rows.max_rows;
    struct moe t = {.s = s,
                    .rows = rows,
                    .flops = 2.0 * (double)(s->tokens * s->top_k) * (double)d * (double)f,
                    .x = sy_gpu_stored(b, n, d, 1.0),
                    .y = sy_gpu_stored(b, n, d, 1.0),
                    .gu = sy_gpu_stored(b, n, 2 * f, 1.0),
                    .dgu = sy_gpu_stored(b, n, 2 * f, 1.0),
                    .h = sy_gpu_stored(b, n, f, 1.0),
                    .w13 = sy_gpu_stored(b, s->experts * 2 * f, d, 0.02),
                    .w2 = sy_gpu_stored(b, s->experts * d, f, 0.02),
                    .a = sy_mat_of(sy_gpu_take(b, n * f * 4), SY_F32, f),
                    .w = sy_gpu_floats(b, n, 1.0),
                    .dw = sy_gpu_take(b, n * 4),
                    .c = sy_gpu_take(b, s->experts * 2 * f * d * 4),
                    .tokens = sy_gpu_stored(b, s->tokens, d, 1.0),
                    .names = {routes.route, s->top_k}};
    forward(b, &t);
    inputs(b, &t);
    leaves(b, &t);
    sy_gpu_give(b, mark);
}

void sy_gpu_bench_products(struct sy_gpu_bench *b) {
    if (!sy_gpu_wants(b, "linear linear_dx linear_dw"))
        return;
    for (int i = 0; i < b->sizes->n_dense; i++)
        dense(b, &b->sizes->dense[i]);
    logits(b);
    for (int i = 0; i < b->sizes->n_moe; i++)
        experts(b, &b->sizes->moe[i]);
}
