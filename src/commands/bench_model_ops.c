/* The ops of a step as a table: see bench_model_ops.h. */
#include "commands/bench_model_ops.h"

#include "base/clock.h"
#include "commands/bench_gpu.h"
#include "device/cuda.h"

struct sy_ceilings sy_ceilings_measure(const struct sy_exec *x) {
    int gpu = sy_device_cuda_is(x->device) != NULL;
    struct sy_gpu_sizes sizes = {
        .seconds = 0.01, .copy_bytes = gpu ? 256 << 20 : 64 << 20, .product = gpu ? 8192 : 0};
    struct sy_gpu_bench b = {.x = *x, .sizes = &sizes};
    sy_gpu_ceilings(&b);
    struct sy_ceilings c = {.copy = b.copy_rate,
                            .product = b.product_rate,
                            .copy_of = gpu ? "copies of 256 MiB" : "copies of 64 MiB",
                            .product_of = "the product of 8192^3"};
    struct sy_peak peak = gpu ? (struct sy_peak){0} : sy_ops_peak(x);
    if (peak.instruction) {
        c.product = peak.flops;
        c.product_of = peak.instruction;
    }
    return c;
}

/* Seconds at the ceiling, of all threads by a clock of processors. */
static double least(const struct sy_profile *p, const struct sy_ceilings *c, int op) {
    double copy = c->copy > 0 ? p->op_bytes[op] / c->copy : 0,
           product = c->product > 0 ? p->op_flops[op] / c->product : 0;
    int threads = p->clock == sy_clock_cpu ? sy_pool_size(p->pool) : 1;
    return (copy > product ? copy : product) * threads;
}

static double share(const struct sy_profile *p, const double *ms, const struct sy_ceilings *c, int op) {
    return ms[op] > 0 ? 1e3 * least(p, c, op) / ms[op] : 0;
}

void sy_bench_ops_print(const struct sy_profile *p, const double *ms, const struct sy_ceilings *c,
                        const struct sy_io *io) {
    sy_io_printf(io, "%-24s %8s %9s %9s %9s %9s %9s\n", "op, in a step", "calls", "runs", "ms", "of peak",
                 "MB", "GFLOP");
    for (int i = 0; i < SY_N_OPS; i++)
        if (p->op[i].calls > 0)
            sy_io_printf(io, "  %-22s %8lld %9lld %9.2f %8.1f%% %9.3f %9.3f\n", sy_profile_op_name(i),
                         (long long)p->op[i].calls, (long long)p->op[i].runs, ms[i], 100 * share(p, ms, c, i),
                         p->op_bytes[i] * 1e-6, p->op_flops[i] * 1e-9);
    sy_io_printf(io, "peak: %s, %.1f GB/s", c->copy_of, c->copy * 1e-9);
    if (c->product > 0)
        sy_io_printf(io, "; %s, %.1f GFLOP/s", c->product_of, c->product * 1e-9);
    sy_io_printf(io, "; above 100 %%: from caches\n");
}

void sy_bench_ops_json(const struct sy_profile *p, const double *ms, const struct sy_ceilings *c,
                       const struct sy_io *io) {
    static const char *const what[] = {"ms", "calls", "bytes", "flops", "share"};
    static const char *const prefix[] = {"op_", "calls_", "bytes_", "flops_", "share_"};
    for (int k = 0; k < 5; k++) {
        sy_io_printf(io, "%s\"op_%s\":{", k ? "," : "", what[k]);
        for (int i = 0; i < SY_N_OPS; i++) {
            double values[] = {ms[i], (double)p->op[i].calls, p->op_bytes[i], p->op_flops[i],
                               share(p, ms, c, i)};
            sy_io_printf(io, "%s\"%s%s\":%.*f", i ? "," : "", prefix[k], sy_profile_op_name(i),
                         k == 0 || k == 4 ? 4 : 0, values[k]);
        }
        sy_io_printf(io, "}");
    }
    sy_io_printf(io, ",\"copy_gbytes_s\":%.2f,\"product_gflops\":%.2f", c->copy * 1e-9, c->product * 1e-9);
}
