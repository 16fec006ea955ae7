/* The ranks of a run: see world.h. */
#include "train/world.h"

struct call {
    double limit;
    sy_status (*fn)(const struct sy_comm *, void *);
    void *arg;
};

static sy_status limited(const struct sy_comm *comm, void *arg) {
    const struct call *c = arg;
    struct sy_comm world = *comm;
    world.limit = c->limit;
    return c->fn(&world, c->arg);
}

sy_status sy_world_run(const struct sy_config *config, sy_status (*fn)(const struct sy_comm *, void *),
                       void *arg) {
    struct call call = {(double)config->comm.train_timeout_seconds, fn, arg};
    struct sy_comm self = sy_comm_self();
    if (config->run.ranks == 1)
        return limited(&self, &call);
    return sy_comm_threads_run((int)config->run.ranks, limited, &call);
}
