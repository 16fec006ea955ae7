/* The choice of a transport: see world.h. */
#include "comm/world.h"

#include "base/cpus.h"
#include "device/cuda.h"

struct sy_world_options sy_world_options(const struct sy_config *config) {
    int ordinal;
    return (struct sy_world_options){.ranks = (int)config->run.ranks,
                                     .launched = config->comm.launcher != SY_LAUNCHED_NONE,
                                     .init_limit = (double)config->comm.init_timeout_seconds,
                                     .limit = (double)config->comm.train_timeout_seconds,
                                     .mover = sy_config_cuda(config, &ordinal) ? sy_device_cuda_move : NULL};
}

sy_status sy_world_size(const struct sy_world_options *options, int *ranks, struct sy_launch *place) {
    struct sy_launch here = {.launcher = SY_LAUNCHER_NOBODY, .size = 1, .local_size = 1};
    if (options->launched)
        SY_TRY(sy_launcher_find(&here));
    if (here.size > 1 && options->ranks > 1)
        SY_FAIL(SY_ERR_USAGE,
                "run.ranks = %d, and %s started %d processes: ranks are threads or processes; leave "
                "run.ranks at 1, start one process, or give --comm.launcher=none",
                options->ranks, sy_launcher_name(here.launcher), here.size);
    *ranks = here.size > 1 ? here.size : options->ranks;
    if (place)
        *place = here;
    return SY_OK;
}

int sy_process_rank(const struct sy_config *config) {
    struct sy_launch here;
    int launched = !config || sy_world_options(config).launched;
    return launched && sy_launcher_find(&here) == SY_OK ? here.rank : 0;
}

int sy_world_cpus(const struct sy_config *config) {
    struct sy_world_options o = sy_world_options(config);
    struct sy_launch place;
    int ranks;
    return sy_world_size(&o, &ranks, &place) == SY_OK ? sy_cpus_shared(place.local_size) : sy_cpus_usable();
}

struct limited {
    double limit;
    sy_status (*fn)(const struct sy_comm *, void *);
    void *arg;
};

static sy_status with_limit(const struct sy_comm *comm, void *arg) {
    const struct limited *l = arg;
    struct sy_comm c = *comm;
    c.limit = l->limit;
    return l->fn(&c, l->arg);
}

sy_status sy_world_run(const struct sy_world_options *options,
                       sy_status (*fn)(const struct sy_comm *comm, void *arg), void *arg) {
    struct limited limited = {options->limit, fn, arg};
    struct sy_launch place;
    int ranks;
    SY_TRY(sy_world_size(options, &ranks, &place));
    if (place.size > 1)
        return sy_comm_mpi_run(&place, options, fn, arg);
    if (ranks != 1)
        return sy_comm_threads_run_moved(ranks, options->mover, with_limit, &limited);
    struct sy_comm self = sy_comm_self();
    return with_limit(&self, &limited);
}
