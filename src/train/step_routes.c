/* The routes of a step between files and batches: see step_routes.h. */
#include "train/step_routes.h"

#include <stdlib.h>

struct sy_step_routes {
    const struct sy_device *device;
    struct sy_routes_files *in, *out;
    int n_layers, n_moe, first;  /* first MoE layer */
    int64_t batch, per_sequence; /* most sequences of a batch; S K */
    struct sy_arena memory;
    /* [n_layers] of a batch, in the order of the walk; what they point to is the device's */
    struct sy_routes *given, *taken;
    struct sy_routes *now; /* [n_layers] given, without weights where the file has none */
};

static void carve(void *self, struct sy_arena *a) {
    struct sy_step_routes *r = self;
    struct sy_routes *sets[] = {r->given, r->taken};
    size_t n = (size_t)(r->batch * r->per_sequence);
    for (int i = 0; i < 2; i++)
        for (int l = r->first; l < r->n_layers; l++)
            sets[i][l] = (struct sy_routes){sy_arena_take(a, "routes of a batch", n, sizeof(int32_t)),
                                            sy_arena_take(a, "routes of a batch", n, sizeof(float))};
}

static int is_wanted(const struct sy_config *c) {
    return (*c->moe.routes_in || *c->moe.routes_out) && c->model.n_layers > c->model.n_dense_layers;
}

static struct sy_routes_options options_of(const struct sy_config *c) {
    return (struct sy_routes_options){.sequences = c->training.global_batch_size,
                                      .seq_len = c->training.seq_len,
                                      .top_k = c->moe.top_k,
                                      .experts = c->moe.num_experts,
                                      .n_layers = (int)(c->model.n_layers - c->model.n_dense_layers)};
}

static sy_status shell(const struct sy_config *c, int64_t batch, struct sy_step_routes **out) {
    struct sy_step_routes *r = calloc(1, sizeof *r);
    size_t n = (size_t)c->model.n_layers + 1;
    if (r) {
        r->n_layers = (int)c->model.n_layers;
        r->first = (int)c->model.n_dense_layers;
        r->n_moe = r->n_layers - r->first;
        r->batch = batch;
        r->per_sequence = c->training.seq_len * c->moe.top_k;
        r->given = calloc(n, sizeof *r->given);
        r->taken = calloc(n, sizeof *r->taken);
        r->now = calloc(n, sizeof *r->now);
    }
    if (!r || !r->given || !r->taken || !r->now) {
        sy_step_routes_destroy(r);
        SY_FAIL(SY_ERR_MEMORY, "no memory for the routes of %lld layers", (long long)c->model.n_layers);
    }
    *out = r;
    return SY_OK;
}

static sy_status open_files(const struct sy_config *c, struct sy_step_routes *r) {
    struct sy_routes_options o = options_of(c);
    int *layers = calloc((size_t)r->n_moe + 1, sizeof *layers);
    if (!layers)
        SY_FAIL(SY_ERR_MEMORY, "no memory for the routes of %d layers", r->n_moe);
    for (int i = 0; i < r->n_moe; i++)
        layers[i] = r->first + i;
    o.layers = layers;
    o.dir = c->moe.routes_in;
    sy_status status = *o.dir ? sy_routes_open(&o, &r->in) : SY_OK;
    o.dir = c->moe.routes_out;
    o.write = 1;
    if (status == SY_OK && *o.dir)
        status = sy_routes_open(&o, &r->out);
    free(layers);
    return status;
}

sy_status sy_step_routes_measure(const struct sy_config *c, int64_t batch, struct sy_arena *arena) {
    struct sy_step_routes *r;
    struct sy_routes_options o = options_of(c);
    size_t files = (size_t)(*c->moe.routes_in != 0) + (*c->moe.routes_out != 0);
    if (!is_wanted(c))
        return SY_OK;
    SY_TRY(shell(c, batch, &r));
    carve(r, arena);
    sy_arena_take(arena, "files of routes", files, (size_t)sy_routes_bytes(&o));
    sy_step_routes_destroy(r);
    return SY_OK;
}

sy_status sy_step_routes_create(const struct sy_config *c, const struct sy_device *device, int64_t batch,
                                struct sy_step_routes **out) {
    struct sy_step_routes *r = NULL;
    *out = NULL;
    if (!is_wanted(c))
        return SY_OK;
    SY_TRY(shell(c, batch, &r));
    r->device = device;
    sy_status status = sy_arena_build(device, "routes of a batch", carve, r, &r->memory);
    if (status == SY_OK)
        status = open_files(c, r);
    if (status != SY_OK) {
        sy_step_routes_destroy(r);
        return status;
    }
    *out = r;
    return SY_OK;
}

void sy_step_routes_destroy(struct sy_step_routes *r) {
    if (!r)
        return;
    sy_routes_close(r->in);
    sy_routes_close(r->out);
    sy_arena_fini(&r->memory);
    free(r->given);
    free(r->taken);
    free(r->now);
    free(r);
}

sy_status sy_step_routes_check(const struct sy_step_routes *r, int64_t first, int64_t last) {
    int skipped;
    if (!r || !r->in || first > last)
        return SY_OK;
    for (int64_t step = first; step <= last; step++)
        SY_TRY(sy_routes_has(r->in, step));
    return sy_routes_load(r->in, first, &skipped);
}

sy_status sy_step_routes_begin(struct sy_step_routes *r, int64_t step, int *skipped) {
    *skipped = 0;
    return r && r->in ? sy_routes_load(r->in, step, skipped) : SY_OK;
}

sy_status sy_step_routes_end(struct sy_step_routes *r, const struct sy_comm *world, int64_t step, int known) {
    sy_status status = SY_OK;
    if (!r || !r->out)
        return SY_OK;
    if (known)
        SY_TRY(sy_routes_join(r->out, world));
    if (world->rank > 0)
        sy_routes_forget(r->out);
    else
        status = known && sy_routes_finite(r->out) ? sy_routes_save(r->out, step)
                                                   : sy_routes_save_skipped(r->out, step);
    return world->ops->agree(world, status);
}

/* A batch's sequences of one layer, and the files that have them, too. */
struct both {
    int layer;
    const struct sy_routes_files *files;
    struct sy_routes batch;
};

/* Between the device and the files' step. */
static void copy(const struct sy_step_routes *r, const struct sy_walk *walk, const struct sy_span *at,
                 const struct both *both, int to_file) {
    const struct sy_device *d = r->device;
    size_t bytes = (size_t)r->per_sequence * 4;
    for (int64_t b = 0; b < at->n; b++) {
        struct sy_routes file = sy_routes_at(both->files, both->layer, sy_walk_sequence(walk, at->first + b));
        int32_t *ids = both->batch.ids + b * r->per_sequence;
        float *w = both->batch.w + b * r->per_sequence;
        d->copy(d, to_file ? (void *)file.ids : ids, to_file ? ids : file.ids, bytes);
        if (file.w)
            d->copy(d, to_file ? (void *)file.w : w, to_file ? w : file.w, bytes);
    }
}

void sy_step_routes_before(struct sy_step_routes *r, const struct sy_walk *walk, struct sy_batch *batch) {
    if (!r)
        return;
    for (int l = r->first; l < r->n_layers && r->in; l++) {
        copy(r, walk, &batch->at, &(struct both){l, r->in, r->given[l]}, 0);
        r->now[l] = r->given[l];
        if (!sy_routes_at(r->in, l, 0).w)
            r->now[l].w = NULL;
    }
    batch->given = r->in ? r->now : NULL;
    batch->taken = r->out ? r->taken : NULL;
}

void sy_step_routes_after(struct sy_step_routes *r, const struct sy_walk *walk, const struct sy_batch *batch,
                          struct sy_share layers) {
    for (int64_t l = layers.first; r && r->out && l < layers.first + layers.n; l++)
        if (l >= r->first)
            copy(r, walk, &batch->at, &(struct both){(int)l, r->out, r->taken[l]}, 1);
}
