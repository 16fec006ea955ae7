/* The routes of a step between files and batches: see step_routes.h. */
#include "train/step_routes.h"

#include <stdlib.h>

struct sy_step_routes {
    struct sy_routes_files *in, *out;
    int n_layers;
    int64_t per_sequence; /* S K */
    int *layers;          /* the MoE layers' places */
    int n_moe;
    struct sy_arena memory;
    struct sy_routes *given, *taken; /* [n_layers] of a batch, in the order of the walk */
    struct sy_routes *now;           /* [n_layers] given, without weights where the file has none */
};

static void carve(struct sy_step_routes *r, int64_t batch, struct sy_arena *a) {
    size_t layers = (size_t)r->n_layers, n = (size_t)(batch * r->per_sequence);
    struct sy_routes **arrays[] = {&r->given, &r->taken, &r->now};
    for (int i = 0; i < 3; i++)
        *arrays[i] = sy_arena_take(a, "routes of a batch", layers, sizeof **arrays[i]);
    for (int i = 0; i < 2; i++)
        for (int m = 0; m < r->n_moe; m++) {
            struct sy_routes routes = {sy_arena_take(a, "routes of a batch", n, sizeof(int32_t)),
                                       sy_arena_take(a, "routes of a batch", n, sizeof(float))};
            if (*arrays[i])
                (*arrays[i])[r->layers[m]] = routes;
        }
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

int64_t sy_step_routes_bytes(const struct sy_config *c, int64_t batch) {
    struct sy_routes_options o = options_of(c);
    if (!is_wanted(c))
        return 0;
    int files = (*c->moe.routes_in != 0) + (*c->moe.routes_out != 0);
    return files * sy_routes_bytes(&o) + 2 * o.n_layers * batch * o.seq_len * o.top_k * 8;
}

static sy_status build(const struct sy_config *c, int64_t batch, struct sy_step_routes *r) {
    struct sy_routes_options o = options_of(c);
    o.layers = r->layers;
    struct sy_arena measure = sy_arena_measure();
    carve(r, batch, &measure);
    SY_TRY(sy_arena_check(&measure, "routes"));
    SY_TRY(sy_arena_init(measure.used, "routes of a batch", &r->memory));
    carve(r, batch, &r->memory);
    SY_TRY(sy_arena_check(&r->memory, "routes"));
    o.dir = c->moe.routes_in;
    if (*o.dir)
        SY_TRY(sy_routes_open(&o, &r->in));
    o.dir = c->moe.routes_out;
    o.write = 1;
    return *o.dir ? sy_routes_open(&o, &r->out) : SY_OK;
}

sy_status sy_step_routes_create(const struct sy_config *c, int64_t batch, struct sy_step_routes **out) {
    int n_moe = (int)(c->model.n_layers - c->model.n_dense_layers);
    *out = NULL;
    if (!is_wanted(c))
        return SY_OK;
    struct sy_step_routes *r = calloc(1, sizeof *r);
    if (r)
        r->layers = calloc((size_t)n_moe, sizeof *r->layers);
    if (!r || !r->layers) {
        free(r);
        SY_FAIL(SY_ERR_MEMORY, "no memory for the routes of %d layers", n_moe);
    }
    r->n_layers = (int)c->model.n_layers;
    r->n_moe = n_moe;
    r->per_sequence = c->training.seq_len * c->moe.top_k;
    for (int i = 0; i < n_moe; i++)
        r->layers[i] = (int)c->model.n_dense_layers + i;
    sy_status status = build(c, batch, r);
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
    free(r->layers);
    free(r);
}

sy_status sy_step_routes_check(const struct sy_step_routes *r, int64_t first, int64_t last) {
    for (int64_t step = first; r && r->in && step <= last; step++)
        SY_TRY(sy_routes_has(r->in, step));
    return SY_OK;
}

sy_status sy_step_routes_begin(struct sy_step_routes *r, int64_t step, int *skipped) {
    *skipped = 0;
    return r && r->in ? sy_routes_load(r->in, step, skipped) : SY_OK;
}

sy_status sy_step_routes_end(struct sy_step_routes *r, int64_t step, int known) {
    if (!r || !r->out)
        return SY_OK;
    return known && sy_routes_finite(r->out) ? sy_routes_save(r->out, step)
                                             : sy_routes_save_skipped(r->out, step);
}

/* n sequences of one layer between a batch and a file's step. */
static void copy(const struct sy_step_routes *r, const struct sy_gradients *walk, int64_t first, int64_t n, int layer,
                 const struct sy_routes_files *files, struct sy_routes batch, int to_file) {
    size_t count = (size_t)r->per_sequence;
    for (int64_t b = 0; b < n; b++) {
        struct sy_routes at = sy_routes_at(files, layer, sy_gradients_sequence(walk, first + b));
        int32_t *ids = batch.ids + (size_t)b * count;
        float *w = batch.w + (size_t)b * count;
        memcpy(to_file ? at.ids : ids, to_file ? ids : at.ids, count * sizeof *ids);
        if (at.w)
            memcpy(to_file ? at.w : w, to_file ? w : at.w, count * sizeof *w);
    }
}

void sy_step_routes_before(struct sy_step_routes *r, const struct sy_gradients *walk, int64_t first,
                           struct sy_batch *batch) {
    if (!r)
        return;
    for (int m = 0; m < r->n_moe && r->in; m++) {
        int l = r->layers[m];
        copy(r, walk, first, batch->sequences, l, r->in, r->given[l], 0);
        r->now[l] = r->given[l];
        if (!sy_routes_at(r->in, l, 0).w)
            r->now[l].w = NULL;
    }
    batch->given = r->in ? r->now : NULL;
    batch->taken = r->out ? r->taken : NULL;
}

void sy_step_routes_after(struct sy_step_routes *r, const struct sy_gradients *walk, int64_t first,
                          const struct sy_batch *batch) {
    for (int m = 0; r && r->out && m < r->n_moe; m++)
        copy(r, walk, first, batch->sequences, r->layers[m], r->out, r->taken[r->layers[m]], 1);
}
