/* All weights in this rank's memory: see resident.h. */
#include "parallel/resident.h"

#include <stdlib.h>
#include <string.h>

struct layer {
    int64_t version; /* of `weights`; 0: not made yet */
    struct sy_layer_weights weights;
    struct sy_weight_cache wq, wk, wv, wo, wqa, wqb, wkva, wkvb, gate, shared_gate;
    struct sy_mlp_cache ffn, shared, experts;
};

struct sy_resident {
    struct sy_resident_options o;
    struct sy_arena arena;
    void **stored;  /* [n_params] a matrix's elements; NULL for vectors */
    float **vector; /* [n_params] a gathered vector's; NULL for all else */
    struct layer *layer;
    struct sy_end_weights ends;
    struct sy_weight_cache head;
    int64_t version, ends_version;
};

static const struct sy_param *param_of(const struct sy_resident *r, int param) {
    return &r->o.params->param[param];
}

/* --- memory --------------------------------------------------------------------------------------------- */

static int is_stored(const struct sy_param *p) {
    return p->kind != SY_PARAM_VECTOR && p->kind != SY_PARAM_BUFFER && p->kind != SY_PARAM_SITE;
}

static const char *tag_of(const struct sy_resident *r) {
    return r->o.holds == SY_RESIDENT_ALL ? "stored weights" : "gathered weights";
}

static int is_here(const struct sy_resident *r, int param) {
    const struct sy_owner *own = r->o.own;
    return !own || sy_owner_in_stage(own, param_of(r, param)) || sy_owner_borrows(own, r->o.params, param);
}

/* This rank's experts' W1 | W3 of a layer stand together, then all W2: groups of a product are a fixed step
 * apart. first: the layer's first expert. */
static void take_experts(struct sy_resident *r, struct sy_arena *a, int first) {
    struct sy_share own = r->o.experts;
    size_t element = sy_dtype_bytes(r->o.exec->dtype);
    for (int which = 0; which < 2; which++) {
        const struct sy_param *p = param_of(r, first + which);
        char *all = sy_arena_take(a, tag_of(r), (size_t)(own.n * p->rows * p->cols), element);
        for (int64_t e = 0; e < own.n; e++)
            r->stored[first + 2 * (own.first + e) + which] =
                all ? all + (size_t)(e * p->rows * p->cols) * element : NULL;
    }
}

static void take_cache(struct sy_resident *r, struct sy_arena *a, int param, struct sy_weight_cache *c) {
    if (param >= 0)
        sy_weight_take(r->o.exec, a, param_of(r, param)->rows, param_of(r, param)->cols, c);
}

static void take_layer(struct sy_resident *r, struct sy_arena *a, int l) {
    const struct sy_layer_params *p = &r->o.params->layer[l];
    const struct sy_exec *x = r->o.exec;
    struct layer *t = &r->layer[l];
    int64_t d = r->o.model->dim, f = r->o.model->moe_inter_dim;
    const struct {
        int param;
        struct sy_weight_cache *cache;
    } maps[] = {{p->wq, &t->wq},     {p->wk, &t->wk},
                {p->wv, &t->wv},     {p->wo, &t->wo},
                {p->wqa, &t->wqa},   {p->wqb, &t->wqb},
                {p->wkva, &t->wkva}, {p->wkvb, &t->wkvb},
                {p->gate, &t->gate}, {p->shared_gate, &t->shared_gate}};
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++)
        take_cache(r, a, maps[i].param, maps[i].cache);
    if (p->w13 >= 0)
        sy_mlp_take_cache(x, a, 1, d, r->o.model->inter_dim, &t->ffn);
    if (p->shared_w13 >= 0)
        sy_mlp_take_cache(x, a, 1, d, r->o.moe->num_shared_experts * f, &t->shared);
    if (p->first_expert >= 0)
        sy_mlp_take_cache(x, a, r->o.experts.n, d, f, &t->experts);
}

/* Of a room for one layer, the layer whose memory this one has: the first of its kind that is here,
 * whose weights have the same shapes; -1: it has none. */
static int home_of(const struct sy_resident *r, int l) {
    const struct sy_config_model *m = r->o.model;
    if (r->o.holds == SY_RESIDENT_ENDS || !is_here(r, r->o.params->layer[l].attn_norm))
        return -1;
    if (r->o.holds != SY_RESIDENT_ONE_LAYER)
        return l;
    if (r->o.room_of >= 0 && sy_layer_is_moe(m, l) != sy_layer_is_moe(m, r->o.room_of))
        return -1;
    int home = sy_layer_is_moe(m, l) ? (int)m->n_dense_layers : 0;
    while (!is_here(r, r->o.params->layer[home].attn_norm))
        home++;
    return home;
}

static int has_memory(const struct sy_resident *r, int layer) {
    return layer < 0 ? r->o.holds != SY_RESIDENT_ONE_LAYER : home_of(r, layer) == layer;
}

/* The layers' parameters are listed alike: those of l are where its home's are. */
static void move_in(struct sy_resident *r, int l) {
    const struct sy_params *p = r->o.params;
    int from[sizeof *p->layer / sizeof(int)], to[sizeof *p->layer / sizeof(int)];
    int home = home_of(r, l), experts = 2 * (int)r->o.moe->num_experts;
    memcpy(from, &p->layer[home], sizeof from);
    memcpy(to, &p->layer[l], sizeof to);
    for (size_t i = 0; i < sizeof to / sizeof *to; i++)
        if (to[i] >= 0) {
            r->stored[to[i]] = r->stored[from[i]];
            r->vector[to[i]] = r->vector[from[i]];
        }
    for (int e = 0; p->layer[l].first_expert >= 0 && e < experts; e++)
        r->stored[p->layer[l].first_expert + e] = r->stored[p->layer[home].first_expert + e];
}

static void carve(void *self, struct sy_arena *a) {
    struct sy_resident *r = self;
    const struct sy_params *p = r->o.params;
    for (int i = 0; i < p->n_params; i++) {
        const struct sy_param *q = param_of(r, i);
        if (!has_memory(r, q->layer) || !is_here(r, i))
            continue;
        if (q->kind == SY_PARAM_EXPERT && i == p->layer[q->layer].first_expert)
            take_experts(r, a, i);
        else if (q->kind != SY_PARAM_EXPERT && is_stored(q))
            r->stored[i] =
                sy_arena_take(a, tag_of(r), (size_t)(q->rows * q->cols), sy_dtype_bytes(r->o.exec->dtype));
        else if (q->kind == SY_PARAM_VECTOR && r->o.gathered)
            r->vector[i] = sy_take_f32(a, tag_of(r), q->cols);
    }
    if (param_of(r, p->head)->kind == SY_PARAM_SITE)
        r->stored[p->head] = r->stored[p->embedding];
    for (int l = 0; l < p->n_layers; l++)
        if (has_memory(r, l))
            take_layer(r, a, l);
        else if (home_of(r, l) >= 0)
            move_in(r, l);
    if (has_memory(r, -1) && is_here(r, p->head))
        take_cache(r, a, p->head, &r->head);
}

static sy_status shell(const struct sy_resident_options *o, struct sy_resident **out) {
    struct sy_resident *r = calloc(1, sizeof *r);
    if (r) {
        r->o = *o;
        r->version = 1;
        r->stored = calloc((size_t)o->params->n_params + 1, sizeof *r->stored);
        r->vector = calloc((size_t)o->params->n_params + 1, sizeof *r->vector);
        r->layer = calloc((size_t)o->params->n_layers + 1, sizeof *r->layer);
    }
    if (!r || !r->stored || !r->vector || !r->layer) {
        sy_resident_destroy(r);
        SY_FAIL(SY_ERR_MEMORY, "no memory for a list of %d weights", o->params->n_params);
    }
    *out = r;
    return SY_OK;
}

void sy_resident_destroy(struct sy_resident *r) {
    if (!r)
        return;
    sy_arena_fini(&r->arena);
    free(r->stored);
    free(r->vector);
    free(r->layer);
    free(r);
}

sy_status sy_resident_measure(const struct sy_resident_options *o, struct sy_arena *arena) {
    struct sy_resident *r;
    SY_TRY(shell(o, &r));
    carve(r, arena);
    sy_resident_destroy(r);
    return SY_OK;
}

sy_status sy_resident_create(const struct sy_resident_options *o, struct sy_resident **out) {
    struct sy_resident *r;
    SY_TRY(shell(o, &r));
    sy_status status = sy_arena_build(o->exec->device, "stored and packed weights", carve, r, &r->arena);
    if (status != SY_OK) {
        sy_resident_destroy(r);
        return status;
    }
    *out = r;
    return SY_OK;
}

static struct sy_kept kept(const void *self, int tensor) {
    const struct sy_resident *r = self;
    const struct sy_tensor *t = &r->o.params->tensor[tensor];
    void *p = r->stored[t->param];
    if (!p)
        return (struct sy_kept){r->vector[t->param], sizeof(float), {0, t->n}};
    return (struct sy_kept){sy_at(p, r->o.exec->dtype, t->first_row * param_of(r, t->param)->cols),
                            sy_dtype_bytes(r->o.exec->dtype),
                            {0, t->n}};
}

struct sy_keeper sy_resident_keeper(const struct sy_resident *r) {
    return (struct sy_keeper){(void *)(uintptr_t)r, kept};
}

void sy_resident_changed(struct sy_resident *r) { r->version++; }

/* --- the source ----------------------------------------------------------------------------------------- */

static const float *vector(const struct sy_resident *r, int param) {
    return param < 0 ? NULL : r->vector[param] ? r->vector[param] : r->o.master[param];
}

static struct sy_mat matrix(const struct sy_resident *r, int param) {
    return sy_mat_of(r->stored[param], r->o.exec->dtype, param_of(r, param)->cols);
}

static struct sy_weight weight(const struct sy_resident *r, int param, struct sy_weight_cache *c) {
    if (param < 0)
        return (struct sy_weight){0};
    const struct sy_param *p = param_of(r, param);
    return sy_weight_of(r->o.exec, matrix(r, param), p->rows, p->cols, r->version, c);
}

static struct sy_mlp_weights mlp(const struct sy_resident *r, int64_t groups, int w13, int w2,
                                 struct sy_mlp_cache *c) {
    if (w13 < 0)
        return (struct sy_mlp_weights){0};
    struct sy_mlp_stored w = {groups, param_of(r, w13)->cols, param_of(r, w2)->cols, matrix(r, w13),
                              matrix(r, w2)};
    return sy_mlp_weights_of(r->o.exec, &w, r->version, c);
}

/* Of a layer whose first expert is `first`, or -1; a rank may have none of them. */
static struct sy_mlp_weights experts(const struct sy_resident *r, int first, struct sy_mlp_cache *c) {
    struct sy_share own = r->o.experts;
    int at = first < 0 ? -1 : own.n > 0 ? first + 2 * (int)own.first : first;
    return mlp(r, own.n, at, at + 1, c);
}

static void make(struct sy_resident *r, int l) {
    const struct sy_layer_params *p = &r->o.params->layer[l];
    struct layer *t = &r->layer[home_of(r, l)];
    t->weights =
        (struct sy_layer_weights){.attn_norm = vector(r, p->attn_norm),
                                  .ffn_norm = vector(r, p->ffn_norm),
                                  .wq = weight(r, p->wq, &t->wq),
                                  .wk = weight(r, p->wk, &t->wk),
                                  .wv = weight(r, p->wv, &t->wv),
                                  .wo = weight(r, p->wo, &t->wo),
                                  .bq = vector(r, p->bq),
                                  .bk = vector(r, p->bk),
                                  .bv = vector(r, p->bv),
                                  .bo = vector(r, p->bo),
                                  .bqa = vector(r, p->bqa),
                                  .bkva = vector(r, p->bkva),
                                  .q_norm = vector(r, p->q_norm),
                                  .k_norm = vector(r, p->k_norm),
                                  .wqa = weight(r, p->wqa, &t->wqa),
                                  .wqb = weight(r, p->wqb, &t->wqb),
                                  .wkva = weight(r, p->wkva, &t->wkva),
                                  .wkvb = weight(r, p->wkvb, &t->wkvb),
                                  .qa_norm = vector(r, p->qa_norm),
                                  .kva_norm = vector(r, p->kva_norm),
                                  .ffn = mlp(r, 1, p->w13, p->w2, &t->ffn),
                                  .moe = {.gate = weight(r, p->gate, &t->gate),
                                          .gate_bias = vector(r, p->gate_bias),
                                          .expert_bias = vector(r, p->expert_bias),
                                          .experts = experts(r, p->first_expert, &t->experts),
                                          .shared = mlp(r, 1, p->shared_w13, p->shared_w2, &t->shared),
                                          .shared_gate = weight(r, p->shared_gate, &t->shared_gate)}};
    t->version = r->version;
}

static void prefetch(void *self, int l) {
    (void)self;
    (void)l;
}

static const struct sy_layer_weights *acquire(void *self, int l) {
    struct sy_resident *r = self;
    struct layer *t = &r->layer[home_of(r, l)];
    if (t->version != r->version)
        make(r, l);
    return &t->weights;
}

static void release(void *self, int l) {
    (void)self;
    (void)l;
}

static const struct sy_end_weights *ends(void *self) {
    struct sy_resident *r = self;
    const struct sy_params *p = r->o.params;
    if (r->ends_version != r->version) {
        r->ends = (struct sy_end_weights){matrix(r, p->embedding), vector(r, p->final_norm),
                                          weight(r, p->head, &r->head)};
        r->ends_version = r->version;
    }
    return &r->ends;
}

struct sy_weight_source sy_resident_source(struct sy_resident *r) {
    return (struct sy_weight_source){r, prefetch, acquire, release, ends};
}
