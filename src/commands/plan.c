/* switchyard plan: what a run on one rank will hold and compute, from the code that allocates it, without
 * the memory. */
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "ckpt/hf_config.h"
#include "config/ramp.h"
#include "commands/units.h"
#include "commands/plan.h"
#include "parallel/calls.h"
#include "device/cuda.h"
#include "train/io.h"
#include "train/session.h"
#include "train/groups.h"
#include "train/start.h"

static void print_counts(const struct sy_io *io, const struct sy_config *c, const struct sy_params *p) {
    char total[32], active[32];
    sy_thousands(p->n_parameters, total);
    sy_thousands(p->n_active, active);
    double flops = sy_flops_per_token(c, p);
    int64_t tokens = c->training.global_batch_size * c->training.seq_len;
    sy_io_printf(io, "parameters   %s, %s active for a token\n", total, active);
    const char *class = sy_hf_class_name(c);
    sy_io_printf(io, "Hugging Face class: %s\n", class ? class : "none; read by switchyard alone");
    struct sy_scaled token = sy_in_flops(flops), step = sy_in_flops(flops * (double)tokens);
    double sequences = (double)sy_steps_sequences(&c->training, 0, c->training.steps);
    struct sy_scaled run = sy_in_flops(flops * sequences * (double)c->training.seq_len);
    sy_io_printf(io, "FLOPs        %.3g %s a token, %.3g %s a step of %lld tokens, %.3g %s in %lld steps\n",
                 token.v, token.unit, step.v, step.unit, (long long)tokens, run.v, run.unit,
                 (long long)c->training.steps);
    sy_io_printf(
        io, "recipe       class %s, lanes %lld, expert_lanes %lld, cell %lld, seq_len %lld, rounds %lld\n",
        sy_config_word(c, "numerics.class"), (long long)c->numerics.lanes,
        (long long)c->numerics.expert_lanes, (long long)c->numerics.cell, (long long)c->training.seq_len,
        (long long)(c->training.global_batch_size / (c->numerics.lanes * c->numerics.cell)));
}

/* Why there are more gradients than weights. */
static sy_status explain_gradients(const struct sy_io *io, const struct sy_config *c,
                                   const struct sy_mesh *mesh) {
    int lanes = (int)c->numerics.lanes, width = (int)c->numerics.expert_lanes, dense = 0, experts = 0;
    struct sy_share own = sy_mesh_lanes(mesh, mesh->dp_rank);
    struct sy_tree_run run = {(int)own.first, (int)own.n}, *groups = calloc((size_t)mesh->ep, sizeof *groups);
    struct sy_calls calls = {0};
    struct sy_tree_shape shape = {lanes, run.n < width ? run.n : width, &run, 1};
    if (!groups)
        SY_FAIL(SY_ERR_MEMORY, "plan: no memory for %d ranks", mesh->ep);
    sy_status status = sy_tree_buffers(&shape, &dense);
    if (status == SY_OK)
        status = sy_calls_init(mesh, &(struct sy_walk){lanes, width, 1, 1, run.first, run.n, 0}, 1, &calls);
    shape = (struct sy_tree_shape){lanes / width, 1, groups,
                                   sy_gradients_groups(calls.walk, calls.ranks, groups)};
    if (status == SY_OK)
        status = sy_tree_buffers(&shape, &experts);
    sy_calls_fini(&calls);
    free(groups);
    SY_TRY(status);
    sy_io_printf(io,
                 "    %d x the dense weights and %d x the experts' in fp32: numerics.lanes = %d,\n"
                 "    expert_lanes = %d at a time; sums wait in a tree for their other half\n",
                 dense, experts, lanes, width);
    return SY_OK;
}

static sy_status tags(const struct sy_io *io, const struct sy_config *c, const struct sy_mesh *mesh,
                      const struct sy_arena *a) {
    for (int i = 0; i < a->n_tags; i++) {
        sy_print_bytes(io, a->tags[i].name, (double)a->tags[i].bytes);
        if (strcmp(a->tags[i].name, "gradients") == 0)
            SY_TRY(explain_gradients(io, c, mesh));
    }
    return SY_OK;
}

/* A GPU's memory where the run is to be on one that is here. */
static void print_gpu(const struct sy_io *io, int ordinal, double bytes) {
    struct sy_cuda_about about;
    if (sy_device_cuda_about(ordinal < 0 ? sy_device_cuda_first() : ordinal, &about) != SY_OK)
        return;
    struct sy_scaled total = sy_in_bytes((double)about.memory);
    sy_io_printf(io, "%s %.1f %s of memory: %s\n", about.name, total.v, total.unit,
                 bytes <= (double)about.memory ? "it fits" : "it does not fit");
}

static void print_machine(const struct sy_io *io, double bytes) {
    struct sy_machine_memory m = sy_machine_memory();
    if (m.total <= 0)
        return;
    struct sy_scaled total = sy_in_bytes((double)m.total), available = sy_in_bytes((double)m.available);
    sy_io_printf(io, "this machine %.1f %s of memory, %.1f %s available: %s\n", total.v, total.unit,
                 available.v, available.unit,
                 bytes <= (double)m.available ? "it fits"
                 : bytes <= (double)m.total   ? "it fits only if other programs end"
                                              : "it does not fit");
}

static sy_status print_memory(const struct sy_io *io, const struct sy_config *c, const struct sy_params *p,
                              const struct sy_mesh *mesh) {
    struct sy_arena all = sy_arena_measure();
    SY_TRY(sy_session_measure(c, p, mesh, &all));
    int64_t batch = sy_mesh_lanes(mesh, 0).n * (c->training.global_batch_size / c->numerics.lanes);
    sy_io_printf(io, "memory of one rank, %lld sequences at a time, activation_checkpoint.mode %s\n",
                 (long long)(c->training.local_batch_size < batch ? c->training.local_batch_size : batch),
                 sy_config_word(c, "activation_checkpoint.mode"));
    SY_TRY(tags(io, c, mesh, &all));
    double bytes = (double)(all.used - all.guards);
    sy_print_bytes(io, "in all", bytes);
    int ordinal;
    if (sy_config_cuda(c, &ordinal))
        print_gpu(io, ordinal, bytes);
    else
        print_machine(io, bytes);
    return SY_OK;
}

/* As many ranks as the configuration's degrees say, or the run's. */
static int world_of(const struct sy_config *c) {
    const struct sy_config_parallelism *p = &c->parallelism;
    int64_t n =
        p->pipeline_parallel_degree * p->data_parallel_replicate_degree * p->data_parallel_shard_degree;
    return n > 1 && n <= SY_MESH_MOST_RANKS ? (int)n : (int)c->run.ranks;
}

sy_status sy_plan(struct sy_config *config, int world, const char *gpu, const struct sy_io *io) {
    struct sy_log log = sy_io_log(io);
    struct sy_params *p;
    struct sy_mesh mesh;
    SY_TRY(sy_start_finish(config, &log));
    world = world ? world : world_of(config);
    if (world == 1 && gpu)
        SY_FAIL(SY_ERR_USAGE, "plan: figures of a %s are for a run over ranks: say --world N, N from 2", gpu);
    SY_TRY(sy_params_create(&config->model, &config->moe, &p));
    sy_status status = sy_groups_check(config, p);
    if (status == SY_OK)
        status = sy_mesh_create(config, world, 0, &mesh);
    if (status == SY_OK) {
        print_counts(io, config, p);
        status = world > 1 ? sy_plan_world(config, p, world, gpu, io) : print_memory(io, config, p, &mesh);
    }
    sy_params_destroy(p);
    return status;
}
