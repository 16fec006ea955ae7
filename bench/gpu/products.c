/* Products of the GPU in the sizes of trainings, by the ops themselves: times by device events, TFLOP/s of
 * the real rows. Routing is uniform and random, segments start at multiples of 16 rows. yardsticks.py gemm
 * has the same shapes by cuBLAS and grouped_mm.
 *
 *     products
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "device/cuda_state.h"
#include "ops/ops.h"

static struct sy_exec x;

static void *take(size_t bytes) {
    void *p = x.device->alloc(x.device, SY_PLACE_DEVICE, bytes);
    if (!p) {
        printf("no memory for %zu bytes\n", bytes);
        exit(2);
    }
    return p;
}

static void give(void *p) { x.device->free(x.device, SY_PLACE_DEVICE, p, 0); }

static void finished(void) {
    if (sy_exec_wait(&x) == SY_OK)
        return;
    printf("%s\n", sy_error_message());
    exit(1);
}

/* Normal numbers, stored. */
static struct sy_mat scaled(int64_t rows, int64_t cols, double sd) {
    static uint64_t key;
    int64_t n = rows * cols;
    float *from = take((size_t)n * 4);
    void *to = take((size_t)n * 2);
    struct sy_init_item values = {.n = n, .key = ++key, .sd = sd, .cut = 0.0, .out = from};
    x.ops->init(&x, &(struct sy_init_values){&values, 1});
    x.ops->cast(&x, &(struct sy_cast){&(struct sy_cast_item){n, from, to}, 1});
    finished();
    give(from);
    return sy_mat_of(to, SY_BF16, cols);
}

static struct sy_mat stored(int64_t rows, int64_t cols) { return scaled(rows, cols, 1.0); }
/* Outputs of about 1: sigmoids are ordinary. */
static struct sy_mat weights(int64_t rows, int64_t cols) { return scaled(rows, cols, 0.02); }

/* --- time ----------------------------------------------------------------------------------------------- */

enum { TIMES = 15, WARM_UP = 4 };

static int ascending(const void *a, const void *b) {
    float p = *(const float *)a, q = *(const float *)b;
    return (p > q) - (p < q);
}

/* Median of single calls. */
static void report(const char *name, double flops, void (*call)(const void *), const void *op) {
    cudaStream_t stream = sy_cuda_of(x.device)->stream;
    cudaEvent_t at[TIMES + 1];
    float ms[TIMES];
    for (int i = 0; i <= TIMES; i++)
        cudaEventCreate(&at[i]);
    for (int i = 0; i < WARM_UP; i++)
        call(op);
    cudaEventRecord(at[0], stream);
    for (int i = 0; i < TIMES; i++) {
        call(op);
        cudaEventRecord(at[i + 1], stream);
    }
    finished();
    for (int i = 0; i < TIMES; i++)
        cudaEventElapsedTime(&ms[i], at[i], at[i + 1]);
    for (int i = 0; i <= TIMES; i++)
        cudaEventDestroy(at[i]);
    qsort(ms, TIMES, sizeof *ms, ascending);
    printf("%-44s %8.4f ms %7.1f TFLOP/s\n", name, (double)ms[TIMES / 2],
           flops / (double)ms[TIMES / 2] * 1e-9);
    fflush(stdout);
}

static void linear(const void *op) { x.ops->linear(&x, op); }
static void linear_dx(const void *op) { x.ops->linear_dx(&x, op); }
static void linear_dw(const void *op) { x.ops->linear_dw(&x, op); }

/* --- dense ---------------------------------------------------------------------------------------------- */

static void dense(int64_t m, int64_t n, int64_t k) {
    char name[80];
    double flops = 2.0 * (double)m * (double)n * (double)k;
    struct sy_mat in = stored(m, k), w = stored(n, k), y = stored(m, n), wn = stored(k, n);
    float *dw = take((size_t)(n * k) * 4);
    struct sy_rows rows = sy_rows_dense(1, m);
    struct sy_linear fwd = {.rows = rows, .k = k, .n = n, .x = in, .w = {.m = sy_mat_t(w)}, .y = y};
    struct sy_linear_dx dx = {.rows = rows, .n = n, .n_maps = 1, .map = {{in, {.m = wn}, k}}, .dx = y};
    struct sy_dw leaf = {.rows = rows, .n_segments = 1, .m = n, .n = k, .dy = y, .x = in, .c = dw};
    snprintf(name, sizeof name, "dense %lld x %lld x %lld", (long long)m, (long long)n, (long long)k);
    report(name, flops, linear, &fwd);
    snprintf(name, sizeof name, "dense dx %lld x %lld x %lld", (long long)m, (long long)n, (long long)k);
    report(name, flops, linear_dx, &dx);
    snprintf(name, sizeof name, "dense dW %lld x %lld, %lld rows (fp32)", (long long)n, (long long)k,
             (long long)m);
    report(name, flops, linear_dw, &(struct sy_linear_dw){&leaf, 1});
    leaf.fold = 1;
    snprintf(name, sizeof name, "dense dW, fold");
    report(name, flops, linear_dw, &(struct sy_linear_dw){&leaf, 1});
    give(in.data), give(w.data), give(y.data), give(wn.data), give(dw);
}

/* --- experts -------------------------------------------------------------------------------------------- */

struct shape {
    const char *name;
    int64_t tokens, d, f, e, top;
};

/* Ids ascending, each expert with the chance that is left; rows by the op itself. */
static struct sy_rows route(const struct shape *s) {
    int64_t routes = s->tokens * s->top, most = routes + 15 * s->e;
    int32_t *host = malloc((size_t)routes * 4), *ids = take((size_t)routes * 4);
    uint64_t state = 1;
    for (int64_t t = 0; t < s->tokens; t++)
        for (int64_t e = 0, n = 0; e < s->e && n < s->top; e++)
            if ((int64_t)((sy_mix64(state += 0x9e3779b97f4a7c15u) >> 33) % (uint64_t)(s->e - e)) < s->top - n)
                host[t * s->top + n++] = (int32_t)e;
    x.device->copy(x.device, ids, host, (size_t)routes * 4);
    int64_t *offset = take((size_t)(s->e + 1) * 8), *n_tiles = take(8);
    struct sy_tile *tile = take((size_t)(most / SY_TILE_ROWS + s->e) * sizeof *tile);
    x.ops->route_sort(&x, &(struct sy_route_sort){.sequences = 1,
                                                  .seq_len = s->tokens,
                                                  .experts = s->e,
                                                  .top_k = s->top,
                                                  .ids = ids,
                                                  .offset = offset,
                                                  .row = take((size_t)routes * 4),
                                                  .route = take((size_t)most * 4),
                                                  .tile = tile,
                                                  .n_tiles = n_tiles});
    finished();
    free(host);
    return (struct sy_rows){
        .groups = s->e, .sequences = 1, .max_rows = most, .offset = offset, .tile = tile, .n_tiles = n_tiles};
}

static void say(const struct shape *s, const char *what, double flops, void (*call)(const void *),
                const void *op) {
    char name[80];
    snprintf(name, sizeof name, "%s %s", s->name, what);
    report(name, flops, call, op);
}

static void experts(const struct shape *s) {
    struct sy_rows rows = route(s);
    int64_t n = rows.max_rows, d = s->d, f = s->f;
    double flops = 2.0 * (double)(s->tokens * s->top) * (double)d * (double)f;
    struct sy_mat in = stored(n, d), w13 = weights(s->e * 2 * f, d), w2 = weights(s->e * d, f),
                  gu = stored(n, 2 * f), h = stored(n, f), y = stored(n, d),
                  a = sy_mat_of(take((size_t)(n * f) * 4), SY_F32, f);
    float *w = take((size_t)n * 4), *dw = take((size_t)n * 4), *c = take((size_t)(s->e * 2 * f * d) * 4);
    struct sy_operand up = {.m = sy_mat_t(w13), .step = 2 * f * d}, down = {.m = sy_mat_t(w2), .step = d * f},
                      w1 = {.m = w13, .step = 2 * f * d}, w3 = {.m = sy_mat_rows(w13, f), .step = 2 * f * d},
                      back = {.m = w2, .step = d * f};
    say(s, "up with SwiGLU: g, u, h", 2 * flops, linear,
        &(struct sy_linear){.rows = rows,
                            .k = d,
                            .n = 2 * f,
                            .x = in,
                            .w = up,
                            .y = gu,
                            .epilogue = SY_EPILOGUE_SWIGLU,
                            .h = h});
    say(s, "down", flops, linear,
        &(struct sy_linear){.rows = rows, .k = f, .n = d, .x = h, .w = down, .y = y});
    say(s, "dx of down, SwiGLU back: dg, du, hw, dw", flops, linear_dx,
        &(struct sy_linear_dx){.rows = rows,
                               .n = f,
                               .n_maps = 1,
                               .map = {{in, back, d}},
                               .epilogue = SY_EPILOGUE_SWIGLU_BACK,
                               .gu = gu,
                               .a = a,
                               .w = w,
                               .dgu = gu,
                               .hw = h,
                               .dw = dw});
    say(s, "dx of up", 2 * flops, linear_dx,
        &(struct sy_linear_dx){
            .rows = rows, .n = d, .n_maps = 2, .map = {{gu, w1, f}, {sy_mat_cols(gu, f), w3, f}}, .dx = y});
    struct sy_dw dw13 = {.rows = rows, .n_segments = 1, .m = 2 * f, .n = d, .dy = gu, .x = in, .c = c},
                 dw2 = {.rows = rows, .n_segments = 1, .m = d, .n = f, .dy = in, .x = h, .c = c};
    dw13.c_step = 2 * f * d;
    dw2.c_step = d * f;
    say(s, "dW of up, leaf (fp32)", 2 * flops, linear_dw, &(struct sy_linear_dw){&dw13, 1});
    say(s, "dW of down, leaf (fp32)", flops, linear_dw, &(struct sy_linear_dw){&dw2, 1});
    dw13.fold = dw2.fold = 1;
    say(s, "dW of up, fold (fp32)", 2 * flops, linear_dw, &(struct sy_linear_dw){&dw13, 1});
    say(s, "dW of down, fold (fp32)", flops, linear_dw, &(struct sy_linear_dw){&dw2, 1});
    give(in.data), give(w13.data), give(w2.data), give(gu.data), give(h.data), give(y.data), give(a.data);
    give(w), give(dw), give(c);
}

int main(void) {
    struct sy_device *device;
    if (sy_device_cuda_create(-1, &device) != SY_OK) {
        printf("%s\n", sy_error_message());
        return 77;
    }
    x = (struct sy_exec){.ops = sy_ops_cuda(), .device = device, .scratch_bytes = SY_CUDA_WORKSPACE};
    sy_exec_set_class(&x, SY_NUMERIC_SM90);
    x.scratch = take(x.scratch_bytes);
    dense(8192, 8192, 8192);
    dense(16384, 2048, 2048);
    dense(16384, 10944, 2048);
    experts(&(struct shape){"dsv3-16b", 16384, 2048, 1408, 64, 6});
    experts(&(struct shape){"qwen3-30b", 16384, 2048, 768, 128, 8});
    return 0;
}
