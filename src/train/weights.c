/* The weights of a rank: see weights.h. */
#include "train/weights.h"

#include "train/plants.h"

static int is_sharded(const struct sy_weights_options *o) { return o->mesh->shard > 1; }

/* own: outlives the weights. */
static struct sy_resident_options resident_options(const struct sy_weights_options *o,
                                                   const struct sy_owner *own) {
    return (struct sy_resident_options){.params = o->params,
                                        .model = &o->config->model,
                                        .moe = &o->config->moe,
                                        .exec = o->exec,
                                        .master = o->state ? o->state->master : NULL,
                                        .own = own,
                                        .experts = sy_mesh_experts(o->mesh, o->mesh->ep_rank),
                                        .gathered = o->mesh->dp > 1};
}

static struct sy_sharded_options sharded_options(const struct sy_weights_options *o) {
    enum sy_parallelism_fsdp_reshard_after_forward how = o->config->parallelism.fsdp_reshard_after_forward;
    int always = how == SY_RESHARD_ALWAYS || (how == SY_RESHARD_DEFAULT && o->mesh->pp == 1);
    return (struct sy_sharded_options){.params = o->params,
                                       .model = &o->config->model,
                                       .moe = &o->config->moe,
                                       .exec = o->exec,
                                       .master = o->state ? o->state->master : NULL,
                                       .mesh = o->mesh,
                                       .groups = o->groups,
                                       .reshard = always};
}

sy_status sy_weights_measure(const struct sy_weights_options *o, struct sy_arena *arena) {
    struct sy_owner own = sy_mesh_owner(o->mesh, o->mesh->rank);
    struct sy_resident_options resident = resident_options(o, &own);
    struct sy_sharded_options sharded = sharded_options(o);
    SY_TRY(is_sharded(o) ? sy_sharded_measure(&sharded, arena) : sy_resident_measure(&resident, arena));
    if (o->mesh->dp == 1)
        return SY_OK;
    return sy_spread_measure(
        &(struct sy_spread_options){.params = o->params, .mesh = o->mesh, .exec = o->exec}, arena);
}

static sy_status make_source(const struct sy_weights_options *o, struct sy_weights *w) {
    struct sy_resident_options resident = resident_options(o, &o->state->own);
    struct sy_sharded_options sharded = sharded_options(o);
    if (is_sharded(o)) {
        SY_TRY(sy_sharded_create(&sharded, &w->sharded));
        w->source = sy_sharded_source(w->sharded);
        w->keeper = sy_sharded_keeper(w->sharded);
    } else {
        SY_TRY(sy_resident_create(&resident, &w->resident));
        w->source = sy_resident_source(w->resident);
        w->keeper = sy_resident_keeper(w->resident);
    }
    return SY_OK;
}

sy_status sy_weights_init(const struct sy_weights_options *o, struct sy_weights *w) {
    *w = (struct sy_weights){.stale = sy_plant_is(o->config, "stale_weights")};
    sy_status status =
        sy_tied_init(&(struct sy_tied_options){o->params, o->exec, o->mesh, o->groups}, &w->tied);
    if (status == SY_OK)
        status = make_source(o, w);
    if (status == SY_OK && o->mesh->dp > 1)
        status = sy_spread_create(&(struct sy_spread_options){.params = o->params,
                                                              .state = o->state,
                                                              .keeper = &w->keeper,
                                                              .mesh = o->mesh,
                                                              .groups = o->groups,
                                                              .exec = o->exec},
                                  &w->spread);
    if (status != SY_OK)
        sy_weights_fini(w);
    return status;
}

void sy_weights_fini(struct sy_weights *w) {
    sy_spread_destroy(w->spread);
    sy_tied_fini(&w->tied);
    sy_sharded_destroy(w->sharded);
    sy_resident_destroy(w->resident);
    *w = (struct sy_weights){0};
}

sy_status sy_weights_changed(struct sy_weights *w) {
    if (w->spread)
        SY_TRY(sy_spread_run(w->spread));
    SY_TRY(sy_tied_spread(&w->tied, &w->keeper));
    if (w->sharded && !w->stale)
        sy_sharded_changed(w->sharded);
    if (w->resident)
        sy_resident_changed(w->resident);
    return SY_OK;
}

sy_status sy_weights_status(const struct sy_weights *w) {
    return w->sharded ? sy_sharded_status(w->sharded) : SY_OK;
}

int64_t sy_weights_sent(const struct sy_weights *w) {
    return (w->spread ? sy_spread_sent(w->spread) : 0) + (w->sharded ? sy_sharded_sent(w->sharded) : 0) +
           w->tied.bytes_sent;
}
