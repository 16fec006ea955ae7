/* switchyard bench layers: an MoE layer, forward and backward, as in bench_layer.c, over T = 1k .. 64k at E
 * 64 and over E = 8 .. 512 at T 8k: GFLOP/s of each row, its share of the register-only peak, and the bound
 * that memory sets, since with many experts a layer has few rows for each gradient:
 *
 *     bytes    fp32 gradients written once; bf16 weights read twice, forward and backward
 *     bound    FLOPs over the longer of FLOPs / peak and bytes / memcpy's rate, bytes read and written
 *
 * Medians of 5 rounds a row.
 */
#include "base/clock.h"
#include "commands/bench.h"
#include "commands/bench_routing.h"
#include "train/io.h"

enum { F = 256, ROUNDS_A_ROW = 5, COPIES = 5 };

static const struct size {
    int64_t tokens, experts;
} sizes[] = {{1 << 10, 64}, {1 << 11, 64},  {1 << 12, 64},  {1 << 13, 64}, {1 << 14, 64},
             {1 << 15, 64}, {1 << 16, 64},  {1 << 13, 8},   {1 << 13, 16}, {1 << 13, 32},
             {1 << 13, 64}, {1 << 13, 128}, {1 << 13, 256}, {1 << 13, 512}};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* Bytes a second that a copy by all threads reads and writes. */
static sy_status copy_rate(const struct sy_exec *x, double *rate) {
    const int64_t bytes = 256 << 20;
    struct sy_arena a;
    double seconds[COPIES];
    SY_TRY(sy_arena_init((size_t)(2 * bytes) + 2 * SY_ARENA_ALIGN, "bench layers", &a));
    char *from = sy_arena_take(&a, "bench", (size_t)bytes, 1);
    char *to = sy_arena_take(&a, "bench", (size_t)bytes, 1);
    memset(from, 1, (size_t)bytes);
    for (int i = -1; i < COPIES; i++) {
        double begin = sy_clock();
        sy_bench_copy(x, to, from, bytes);
        if (i >= 0)
            seconds[i] = sy_clock() - begin;
    }
    *rate = 2.0 * (double)bytes / sy_bench_median(COPIES, seconds);
    sy_arena_fini(&a);
    return SY_OK;
}

static void print(const struct sy_io *io, int json, const struct sy_exec *x,
                  const struct sy_bench_layer_result *r, double rate) {
    double bytes = (double)r->experts * 3 * F * D * (4 + 2 * 2), traffic = bytes / rate;
    double least = r->peak > 0 && r->flops / r->peak > traffic ? r->flops / r->peak : traffic;
    const char *format =
        json ? "{\"bench\":\"layers\",\"class\":\"%s\",\"tier\":\"%s\",\"threads\":%d,\"T\":%lld,\"E\":%lld,"
               "\"D\":%d,\"F\":%d,"
               "\"K\":%d,\"ms\":%.3f,\"gflops\":%.1f,\"peak_gflops\":%.1f,\"share\":%.3f,\"traffic_ms\":%.3f,"
               "\"bound_gflops\":%.1f,\"gbytes_s\":%.1f}\n"
             : "layers  %s  %s  %d threads  T %6lld E %4lld D %d F %d K %d  %9.2f ms %8.1f GFLOP/s  peak "
               "%.1f, "
               "share "
               "%.2f  gradients and weights %7.2f ms: at most %8.1f GFLOP/s, at %.1f GB/s\n";
    sy_io_printf(io, format, sy_class_name(x->cls), x->ops->tier, sy_pool_size(x->pool), (long long)r->tokens,
                 (long long)r->experts, D, F, K, 1e3 * r->all, 1e-9 * r->flops / r->all, 1e-9 * r->peak,
                 r->share, 1e3 * traffic, 1e-9 * r->flops / least, 1e-9 * rate);
}

sy_status sy_bench_layers(struct sy_exec *x, const struct sy_bench_options *o, const struct sy_io *io) {
    SY_TRY(sy_bench_choose(o, x));
    for (int i = 0; i < SIZES; i++) {
        struct sy_bench_layer_result r;
        double rate;
        SY_TRY(copy_rate(x, &rate));
        SY_TRY(sy_bench_layer_of(x, sizes[i].tokens, sizes[i].experts, ROUNDS_A_ROW, &r));
        print(io, o->json, x, &r, rate);
    }
    return SY_OK;
}
