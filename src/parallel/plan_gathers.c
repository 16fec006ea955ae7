/* How often each layer's shards are gathered in a step: the rooms of parallel/sharded.c without their
 * weights, for the calls of the schedule in their order. */
#include <stdlib.h>
#include <string.h>

#include "parallel/plan.h"

enum { ROOMS = 2 };

struct rooms {
    int layer[ROOMS], wanted[ROOMS]; /* -1: none */
    int64_t used[ROOMS], clock;
    int *gathered; /* [layers] */
};

/* As `ask` there: every call is over before the next, so that nothing is in use. */
static int ask(struct rooms *r, int layer, int also_wanted) {
    int at = -1;
    for (int i = 0; i < ROOMS; i++)
        if (r->layer[i] == layer)
            at = i;
    if (at < 0) {
        for (int i = 0; i < ROOMS; i++)
            if ((also_wanted || !r->wanted[i]) && (at < 0 || r->used[i] < r->used[at]))
                at = i;
        if (at < 0)
            return -1;
        r->layer[at] = layer;
        r->gathered[layer]++;
    }
    r->used[at] = ++r->clock;
    return at;
}

static void prefetch(struct rooms *r, int layer) {
    int at = ask(r, layer, 0);
    if (at >= 0)
        r->wanted[at] = 1;
}

static void acquire(struct rooms *r, int layer) { r->wanted[ask(r, layer, 1)] = 0; }

/* A stage's calls (model/stage.c). */
static void pass(struct rooms *r, struct sy_share layers, enum sy_work work) {
    for (int64_t i = 0; i < layers.n; i++) {
        int forward = work == SY_WORK_F;
        int l = (int)(layers.first + (forward ? i : layers.n - 1 - i));
        if (i + 1 < layers.n && work != SY_WORK_W)
            prefetch(r, forward ? l + 1 : l - 1);
        acquire(r, l);
    }
}

void sy_plan_gathers(const struct sy_plan *p, int pp_rank, int *gathered) {
    struct rooms r = {.layer = {-1, -1}, .gathered = gathered};
    int64_t layers = p->mesh.stages.layers, here = 0;
    enum sy_parallelism_fsdp_reshard_after_forward how = p->config->parallelism.fsdp_reshard_after_forward;
    int again = how == SY_RESHARD_ALWAYS || (how == SY_RESHARD_DEFAULT && p->mesh.pp == 1);
    memset(gathered, 0, (size_t)layers * sizeof *gathered);
    for (int s = pp_rank; s < p->mesh.stages.n; s += p->mesh.pp)
        here += sy_mesh_layers(&p->mesh, s).n;
    for (int64_t l = 0; l < layers && (!again || here <= ROOMS); l++)
        gathered[l] = 1;
    for (int i = 0; i < p->schedule->n_each && again && here > ROOMS; i++) {
        const struct sy_schedule_step *step = &sy_schedule_of_rank(p->schedule, pp_rank)[i];
        pass(&r, sy_mesh_layers(&p->mesh, step->stage), step->work);
    }
}
