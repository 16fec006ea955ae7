/* switchyard plan --world N: see plan.h. */
#include <stdio.h>
#include <string.h>

#include "commands/plan.h"
#include "commands/units.h"
#include "train/classes.h"
#include "train/session.h"

/* --- axes ----------------------------------------------------------------------------------------------- */

/* "3" or "3 to 4". */
static void range(int64_t most, int64_t least, char out[48]) {
    if (most == least)
        snprintf(out, 48, "%lld", (long long)most);
    else
        snprintf(out, 48, "%lld to %lld", (long long)least, (long long)most);
}

static void print_axes(const struct sy_plan *p, const struct sy_io *io) {
    const struct sy_mesh *m = &p->mesh;
    char lanes[48], experts[48], sequences[48];
    int64_t most = 0, least = m->lanes;
    for (int r = 0; r < m->dp; r++) {
        int64_t n = sy_mesh_lanes(m, r).n;
        most = n > most ? n : most;
        least = n < least ? n : least;
    }
    range(most, least, lanes);
    range(most * (sy_plan_sequences(p, 0) / sy_mesh_lanes(m, 0).n),
          least * (sy_plan_sequences(p, 0) / sy_mesh_lanes(m, 0).n), sequences);
    range(sy_mesh_experts(m, 0).n, sy_mesh_experts(m, m->ep - 1).n, experts);
    sy_io_printf(io, "\nworld        %d ranks = %d in a pipeline x %d for data (replicate %d x shard %d)\n",
                 m->world, m->pp, m->dp, m->replicate, m->shard);
    sy_io_printf(io, "             rank = %d x pipeline rank + data rank; nodes of %d ranks\n", m->dp,
                 p->gpu->node);
    sy_io_printf(io, "lanes        %d, in groups of %d: %s a data rank, %s sequences in a step\n", m->lanes,
                 m->expert_lanes, lanes, sequences);
    if (m->experts > 0)
        sy_io_printf(io, "experts      %lld over %d neighbours, %s each; %d such groups have all of them\n",
                     (long long)m->experts, m->ep, experts, m->edp);
    sy_io_printf(io,
                 "owners       of masters and moments: each tensor in blocks of 1024 elements over\n"
                 "             the %d data ranks, an expert's over %d\n",
                 m->dp, m->edp);
}

/* --- stages --------------------------------------------------------------------------------------------- */

static void print_stage(const struct sy_plan *p, int stage, char *out, size_t n) {
    struct sy_share own = sy_mesh_layers(&p->mesh, stage);
    char layers[64] = "no layer";
    if (own.n == 1)
        snprintf(layers, sizeof layers, "layer %lld", (long long)own.first);
    else if (own.n > 1)
        snprintf(layers, sizeof layers, "layers %lld-%lld", (long long)own.first,
                 (long long)(own.first + own.n - 1));
    snprintf(out, n, "%s%s%s", stage == 0 ? "embedding, " : "", layers,
             stage == p->mesh.stages.n - 1 ? ", head" : "");
}

static void print_stages(const struct sy_plan *p, const struct sy_io *io) {
    const struct sy_mesh *m = &p->mesh;
    char text[128];
    if (m->pp == 1)
        return;
    sy_io_printf(io, "stages       %d, %d a rank, %s; %d micro-batches of %lld at most\n", m->stages.n,
                 m->stages.n / m->pp, sy_config_word(p->config, "parallelism.pipeline_parallel_schedule"),
                 p->schedule->shape.micro_batches, (long long)p->batch);
    sy_io_printf(io, "  stage  rank  pending  forward ms  what\n");
    for (int s = 0; s < m->stages.n; s++) {
        print_stage(p, s, text, sizeof text);
        sy_io_printf(io, "  %5d %5d %8d %11.2f  %s\n", s, s % m->pp, p->schedule->pending[s],
                     (double)p->of_stage[s].f / 1e6, text);
    }
}

/* --- memory --------------------------------------------------------------------------------------------- */

/* Of a pipeline's ranks the first data-parallel one, which has the most lanes. */
static sy_status measure(const struct sy_plan *p, int pp_rank, struct sy_arena *all) {
    struct sy_mesh mesh;
    *all = sy_arena_measure();
    SY_TRY(sy_mesh_create(p->config, p->mesh.world, pp_rank * p->mesh.dp, &mesh));
    return sy_session_measure(p->config, p->params, &mesh, all);
}

static double bytes_of(const struct sy_arena *a) { return (double)(a->used - a->guards); }

static sy_status print_memory(const struct sy_plan *p, const struct sy_io *io) {
    struct sy_arena most = sy_arena_measure(), all;
    int fullest = 0;
    char line[128] = "", part[24];
    for (int r = 0; r < p->mesh.pp; r++) {
        SY_TRY(measure(p, r, &all));
        if (r == 0 || bytes_of(&all) > bytes_of(&most)) {
            most = all;
            fullest = r;
        }
        snprintf(part, sizeof part, " %.2f", bytes_of(&all) / (1 << 30));
        if (strlen(line) + strlen(part) < 60)
            strcat(line, part);
        else if (line[strlen(line) - 1] != '.')
            strcat(line, " ...");
    }
    sy_io_printf(io, "\nmemory of rank %d%s, activation_checkpoint.mode %s\n", fullest * p->mesh.dp,
                 p->mesh.pp > 1 ? ", the fullest of its pipeline" : "",
                 sy_config_word(p->config, "activation_checkpoint.mode"));
    for (int i = 0; i < most.n_tags; i++)
        sy_print_bytes(io, most.tags[i].name, (double)most.tags[i].bytes);
    sy_print_bytes(io, "in all", bytes_of(&most));
    if (p->mesh.pp > 1)
        sy_io_printf(io, "  GiB by pipeline rank:%s\n", line);
    sy_io_printf(io, "  a %s has %.0f GB: it %s\n", p->gpu->name, p->gpu->memory / 1e9,
                 bytes_of(&most) <= p->gpu->memory ? "fits" : "does not fit");
    return SY_OK;
}

/* --- bytes and time ------------------------------------------------------------------------------------- */

static void print_bytes(const struct sy_plan *p, const struct sy_io *io) {
    struct sy_plan_bytes most[SY_TRAFFIC_KINDS] = {{0, 0}}, of[SY_TRAFFIC_KINDS];
    for (int r = 0; r < p->mesh.world; r += p->mesh.dp) {
        sy_plan_sent(p, r, of);
        for (int k = 0; k < SY_TRAFFIC_KINDS; k++)
            most[k] = of[k].sent > most[k].sent ? of[k] : most[k];
    }
    sy_io_printf(io, "\nsent by a rank in a step, at most       in its node     to others\n");
    for (int k = 0; k < SY_TRAFFIC_KINDS; k++) {
        struct sy_scaled near = sy_in_bytes(most[k].near), far = sy_in_bytes(most[k].sent - most[k].near);
        sy_io_printf(io, "  %-33s %8.2f %-4s %8.2f %s\n", sy_traffic_names[k], near.v, near.unit, far.v,
                     far.unit);
    }
}

static void seconds(const struct sy_io *io, const char *what, double s, const char *more) {
    sy_io_printf(io, "  %-33s %8.3f s%s\n", what, s, more);
}

static void print_time(const struct sy_plan *p, const struct sy_io *io) {
    const struct sy_plan_gpu *g = p->gpu;
    const struct sy_config *c = p->config;
    double tokens = (double)(c->training.global_batch_size * c->training.seq_len);
    double mfu = sy_flops_per_token(c, p->params) * tokens / p->step / (g->peak * p->mesh.world);
    char idle[48];
    snprintf(idle, sizeof idle, ", idle %.1f %%", 100 * p->bubble);
    sy_io_printf(io,
                 "\ntime on %d %s, if products reach %.0f %% of %.0f TFLOP/s, a rank sends\n"
                 "%.0f GB/s in its node and %.0f GB/s out of it, and only stages overlap\n",
                 p->mesh.world, g->name, 100 * g->products, g->peak / 1e12, g->near / 1e9, g->far / 1e9);
    seconds(io, "forward and backward", p->pipeline, p->mesh.pp > 1 ? idle : "");
    seconds(io, "gradients to their owners", p->gradients, "");
    seconds(io, "update", p->update, "");
    seconds(io, "weights from their owners", p->weights, "");
    sy_io_printf(io, "  %-33s %8.3f s, %.0f tokens/s, MFU %.1f %%\n", "a step", p->step, tokens / p->step,
                 100 * mfu);
}

static sy_status print_schedule(const struct sy_plan *p, const struct sy_io *io) {
    struct sy_schedule *units;
    if (p->mesh.pp == 1)
        return SY_OK;
    SY_TRY(sy_schedule_create(&p->schedule->shape, &units));
    sy_io_printf(io, "\n");
    sy_plan_print_schedule(units, io);
    sy_schedule_destroy(units);
    return SY_OK;
}

/* --- all of it ------------------------------------------------------------------------------------------ */

static sy_status find_gpu(const char *name, const struct sy_plan_gpu **out) {
    char all[128] = "";
    *out = name ? sy_plan_gpu_find(name) : sy_plan_gpu_at(0);
    for (int i = 0; !*out && sy_plan_gpu_at(i); i++)
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", sy_plan_gpu_at(i)->name);
    if (!*out)
        SY_FAIL(SY_ERR_USAGE, "plan: no figures of a GPU \"%s\": choose one of %s", name, all);
    return SY_OK;
}

sy_status sy_plan_world(const struct sy_config *c, const struct sy_params *params, int world, const char *gpu,
                        const struct sy_io *io) {
    const struct sy_plan_gpu *g;
    struct sy_plan *p;
    SY_TRY(find_gpu(gpu, &g));
    SY_TRY(sy_plan_create(c, params, world, g, &p));
    print_axes(p, io);
    print_stages(p, io);
    sy_status status = print_memory(p, io);
    print_bytes(p, io);
    print_time(p, io);
    if (status == SY_OK)
        status = print_schedule(p, io);
    sy_plan_destroy(p);
    return status;
}
