/* switchyard info: what this build is and what runs here. */
#include "base/machine.h"
#include "ckpt/hf_config.h"
#include "comm/world.h"
#include "commands/bench_gpu.h"
#include "device/cuda.h"
#include "train/io.h"
#include "train/session.h"

static void tiers(const struct sy_io *io) {
    sy_io_printf(io, "tiers     ");
    for (int i = 0; i < sy_ops_n_tiers(); i++) {
        const char *why;
        const struct sy_ops *ops = sy_ops_tier(i, &why);
        sy_io_printf(io, " %s%s%s%s", sy_ops_tier_name(i), ops ? "" : " (no: ", ops ? "" : why,
                     ops ? "" : ")");
    }
    sy_io_printf(io, "\nclasses   ");
    for (int c = 0; c < SY_N_CLASSES; c++)
        sy_io_printf(io, " %s", sy_class_name((enum sy_numeric_class)c));
    sy_io_printf(io, "\n");
}

static void print_driver(const struct sy_io *io, const struct sy_cuda_about *a) {
    char version[SY_MACHINE_DRIVER];
    sy_machine_nvidia_driver("", version);
    sy_io_printf(io, "           driver %s%sfor CUDA %d.%d, runtime %d.%d\n", version, *version ? " " : "",
                 a->driver / 1000, a->driver % 1000 / 10, a->runtime / 1000, a->runtime % 1000 / 10);
}

/* The driver's GPUs, those too that this build has no kernels for. */
static void devices(const struct sy_io *io) {
    const char *why;
    int n = sy_device_cuda_count(&why), first = sy_device_cuda_first();
    sy_io_printf(io, "devices    cpu%s%s%s\n", n ? "" : " (no cuda: ", n ? "" : why, n ? "" : ")");
    for (int i = 0; i < n; i++) {
        struct sy_cuda_about a;
        if (sy_device_cuda_about(i, &a) != SY_OK) {
            sy_io_printf(io, "           %s\n", sy_error_message());
            continue;
        }
        sy_io_printf(io, "           cuda:%d %s, %.1f GiB, %d multiprocessors, compute capability %d.%d%s\n",
                     i, a.name, (double)a.memory / (1u << 30), a.multiprocessors, a.major, a.minor,
                     i == first ? " (run.device=auto)"
                     : a.usable ? ""
                                : " (no kernels in this build: run.device=cpu)");
        if (i == 0)
            print_driver(io, &a);
        if (a.usable)
            sy_gpu_print_ceilings(i, io);
    }
    const char *mpi = sy_comm_mpi_version();
    sy_io_printf(io, "ranks      threads of a process (run.ranks); processes over %s\n",
                 mpi ? mpi : "MPI: not in this build (make configure MPI=1)");
}

/* On the tier that auto takes and all processors: a loop of the instruction that products are made of. */
static sy_status peak(const struct sy_io *io) {
    struct sy_exec x = {0};
    SY_TRY(sy_ops_select("auto", &x.ops));
    SY_TRY(sy_pool_create(0, &x.pool));
    sy_io_printf(io, "peak       tier %s (run.tier=auto), %d threads, in registers alone:", x.ops->tier,
                 sy_pool_size(x.pool));
    for (int c = 0; c < SY_N_CLASSES; c++) {
        x.cls = (enum sy_numeric_class)c;
        struct sy_peak p = sy_ops_peak(&x);
        if (p.instruction)
            sy_io_printf(io, "\n           class %s: %.0f GFLOP/s of %s", sy_class_name(x.cls),
                         p.flops * 1e-9, p.instruction);
        else
            sy_io_printf(io, "\n           class %s: none in this tier", sy_class_name(x.cls));
    }
    sy_io_printf(io, "\n");
    sy_pool_destroy(x.pool);
    return SY_OK;
}

static void ops(const struct sy_io *io) {
    static const char *const names[] = {
#define X(name, type) #name,
        SY_OPS_LIST(X)
#undef X
    };
    size_t column = 0;
    sy_io_printf(io, "ops       ");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        column += strlen(names[i]) + 1;
        if (column > 66) {
            sy_io_printf(io, "\n          ");
            column = strlen(names[i]) + 1;
        }
        sy_io_printf(io, " %s", names[i]);
    }
    sy_io_printf(io, "\n");
}

static sy_status flavor(const struct sy_io *io, const char *name) {
    struct sy_config *c;
    struct sy_params *p = NULL;
    SY_TRY(sy_config_create(&c));
    sy_status status = sy_config_set(c, SY_LAYER_FLAG, "info", "model.flavor", name);
    if (status == SY_OK)
        status = sy_config_set(c, SY_LAYER_FLAG, "info", "training.dataset_path", "none");
    if (status == SY_OK)
        status = sy_config_finish(c, false);
    if (status == SY_OK)
        status = sy_params_create(&c->model, &c->moe, &p);
    if (status == SY_OK)
        sy_io_printf(io, "  %-17s %15lld %15lld  %s\n", name, (long long)p->n_parameters,
                     (long long)p->n_active, sy_hf_class_name(c) ? sy_hf_class_name(c) : "none");
    sy_params_destroy(p);
    sy_config_destroy(c);
    return status;
}

sy_status sy_info(const struct sy_io *io) {
    sy_io_printf(io, "switchyard %s\n", sy_version());
    tiers(io);
    devices(io);
    SY_TRY(peak(io));
    ops(io);
    sy_io_printf(io, "flavors                 parameters          active  Hugging Face class\n");
    const char *about;
    for (int i = 0; sy_config_flavor(i, &about); i++)
        SY_TRY(flavor(io, sy_config_flavor(i, &about)));
    return SY_OK;
}
