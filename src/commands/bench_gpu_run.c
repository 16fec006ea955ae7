/* switchyard bench ops|gemm|attention|moe --device cuda[:N]: which sections, in which sizes; see
 * bench_gpu.h. */
#include <stdio.h>

#include "base/machine.h"
#include "base/sized.h"
#include "commands/bench_gpu.h"
#include "config/config.h"
#include "device/cuda.h"

/* A layer of DeepSeek-V2-Lite's shape (dsv3-16b), experts of that and of Qwen3-30B-A3B, attention of both and
 * of heads that others have. */
static const struct sy_gpu_dense dense[] = {{8192, 8192, 8192}, {16384, 2048, 2048}, {16384, 10944, 2048}};
static const struct sy_gpu_experts moe[] = {{"dsv3-16b", 16384, 2048, 1408, 64, 6},
                                            {"qwen3-30b", 16384, 2048, 768, 128, 8}};
/* Of DeepSeek-V2-Lite, without its shared experts, of Qwen3-30B-A3B, OLMoE-1B-7B; a quarter of DeepSeek-V3's
 * experts, as one of four ranks of an expert-parallel group has them. */
static const struct sy_gpu_layer layer[] = {{"dsv3-16b", 2048, 1408, 64, 6, 2},
                                            {"dsv3-16b, no shared", 2048, 1408, 64, 6, 0},
                                            {"qwen3-30b", 2048, 768, 128, 8, 0},
                                            {"olmoe", 2048, 1024, 64, 8, 0},
                                            {"dsv3-671b, 1 of 4", 7168, 2048, 64, 2, 0}};
static const struct sy_gpu_heads attention[] = {
    {4, 4096, 16, 16, 128, 64, 1}, {4, 4096, 32, 4, 128, 0, 0},   {4, 4096, 16, 16, 128, 0, 0},
    {4, 4096, 32, 8, 64, 0, 0},    {2, 8192, 16, 16, 128, 64, 1}, {2, 8192, 32, 4, 128, 0, 0},
};
const struct sy_gpu_sizes sy_gpu_sizes = {
    .seconds = 0.02,
    .queued_layers = 20,
    .copy_bytes = 1 << 30,
    .product = 8192,
    .logits = {5120, 102400, 2048},
    .sequences = 4,
    .seq_len = 4096,
    .d = 2048,
    .heads = 16,
    .experts = 64,
    .top_k = 6,
    .vocab = 102400,
    .loss_rows = 4096,
    .parameters = 200 << 20,
    .dense = dense,
    .moe = moe,
    .layer = layer,
    .attention = attention,
    .n_dense = sizeof dense / sizeof *dense,
    .n_moe = sizeof moe / sizeof *moe,
    .n_layers = sizeof layer / sizeof *layer,
    .n_attention = sizeof attention / sizeof *attention,
};

/* --- ops without a row ---------------------------------------------------------------------------------- */

static const char over_ranks[] =
    "it is of runs over ranks: `bench model --run.ranks=2 --run.device=cuda` times it";
static const struct {
    const char *op, *why;
} untimed[] = {
    {"pack", "products of a GPU read weights as they are"},
    {"topk", "it is of the library's sy_topk, which computes on CPUs"},
    {"topk_bwd", "it is of the library's sy_topk, which computes on CPUs"},
    {"move_segments", over_ranks},
    {"route_slots", over_ranks},
    {"send_slots", over_ranks},
    {"route_arrived", over_ranks},
    {"return_rows", over_ranks},
};

sy_status sy_gpu_bench_check(const char *op) {
    static const char *const names[] = {
#define X(name, type) #name,
        SY_OPS_LIST(X)
#undef X
    };
    for (size_t i = 0; i < sizeof untimed / sizeof *untimed; i++)
        if (strcmp(untimed[i].op, op) == 0)
            SY_FAIL(SY_ERR_USAGE, "bench ops %s: is not timed on a GPU: %s", op, untimed[i].why);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], op) == 0)
            return SY_OK;
    SY_FAIL(SY_ERR_USAGE, "bench ops %s: there is no op of that name; `switchyard info` lists them", op);
}

/* --- a run ---------------------------------------------------------------------------------------------- */

static void print_ceilings(const struct sy_gpu_bench *b) {
    if (b->json)
        sy_io_printf(
            b->io, "{\"bench\":\"ceilings\",\"device\":\"%s\",\"copy_tb_s\":%.3f,\"product_tflops\":%.1f}\n",
            b->x.device->name, b->copy_rate * 1e-12, b->product_rate * 1e-12);
    else
        sy_io_printf(b->io,
                     "%s, class %s: share of copies of %.2f GB (%.2f TB/s), of the product %lld^3 "
                     "(%.1f TFLOP/s)\n",
                     b->x.device->name, sy_class_name(b->x.cls), (double)b->sizes->copy_bytes * 1e-9,
                     b->copy_rate * 1e-12, (long long)b->sizes->product, b->product_rate * 1e-12);
}

sy_status sy_gpu_bench_run(struct sy_gpu_bench *b, const char *what) {
    static const struct {
        const char *what;
        void (*section)(struct sy_gpu_bench *b);
    } sections[] = {{"gemm", sy_gpu_bench_products},
                    {"attention", sy_gpu_bench_attention},
                    {"moe", sy_gpu_bench_layers},
                    {"ops", sy_gpu_bench_rows},
                    {"ops", sy_gpu_bench_routing}};
    sy_gpu_ceilings(b);
    if (b->status == SY_OK)
        print_ceilings(b);
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
        if ((strcmp(what, "ops") == 0 && strcmp(sections[i].what, "moe")) ||
            strcmp(what, sections[i].what) == 0)
            sections[i].section(b);
    return b->status;
}

/* --- the command ---------------------------------------------------------------------------------------- */

/* "cuda" or "cuda:N" as run.device takes them. */
static sy_status ordinal_of(const char *device, int *out) {
    struct sy_config *c;
    SY_TRY(sy_config_create(&c));
    sy_status status = sy_config_set(c, SY_LAYER_FLAG, "bench --device", "run.device", device);
    if (status == SY_OK && !sy_config_cuda(c, out))
        status = sy_fail(SY_ERR_USAGE, "bench --device %s: must be cpu, cuda or cuda:N", device);
    sy_config_destroy(c);
    return status;
}

static void print_gpu(const struct sy_gpu_bench *b, int ordinal) {
    struct sy_cuda_about about;
    char driver[SY_MACHINE_DRIVER];
    if (sy_device_cuda_about(ordinal < 0 ? sy_device_cuda_first() : ordinal, &about) != SY_OK)
        return;
    sy_machine_nvidia_driver("", driver);
    sy_io_printf(b->io,
                 b->json ? "{\"bench\":\"gpu\",\"device\":\"%s\",\"name\":\"%s\",\"driver\":\"%s\"}\n"
                         : "%s: %s, driver %s\n",
                 b->x.device->name, about.name, driver);
}

sy_status sy_bench_gpu(const struct sy_bench_gpu_options *given, const struct sy_io *io) {
    struct sy_bench_gpu_options own;
    SY_TRY(SY_OPTIONS(sy_bench_gpu_options, given, &own));
    const struct sy_bench_gpu_options *o = &own;
    struct sy_gpu_bench b = {.io = io, .json = o->json, .ops = o->ops, .n_ops = o->n_ops};
    struct sy_device *device;
    int ordinal;
    if (!o->what)
        SY_FAIL(SY_ERR_USAGE, "bench: which is not said: ops, gemm, attention or moe");
    if (strcmp(o->what, "ops") && strcmp(o->what, "gemm") && strcmp(o->what, "attention") &&
        strcmp(o->what, "moe"))
        SY_FAIL(SY_ERR_USAGE,
                "bench %s --device %s: on a GPU there are ops, gemm, attention, moe (and model, by "
                "--run.device)",
                o->what, o->device);
    for (int i = 0; i < o->n_ops; i++)
        SY_TRY(sy_gpu_bench_check(o->ops[i]));
    SY_TRY(ordinal_of(o->device, &ordinal));
    SY_TRY(sy_gpu_bench_open(ordinal, &b, &device));
    print_gpu(&b, ordinal);
    sy_status status = sy_gpu_bench_run(&b, o->what);
    sy_gpu_bench_close(&b, device);
    return status;
}
