/* Weights that are gathered when they are used: see sharded.h. */
#include "parallel/sharded.h"

#include <assert.h>
#include <stdlib.h>

#include "parallel/gather.h"
#include "parallel/place.h"
#include "parallel/resident.h"

struct room {
    struct sy_resident *weights;
    int layer; /* that is there or comes; -1: none */
    int only;  /* the layer that it is for; -1: any */
    int coming, users;
    int wanted;   /* it was asked for in advance: it stays until it is acquired */
    int64_t used; /* when it was asked for last */
};

struct sy_sharded {
    struct sy_sharded_options o;
    struct sy_owner own;
    struct sy_arena arena;
    struct sy_gather_item *item; /* [n_tensors] set by set */
    int *tensor;                 /* [n_tensors] of each item */
    struct sy_gather_set *set;   /* [2 (n_layers + 1)] dense, experts of: no layer, layer 0, ... */
    struct sy_gather *gather;
    struct sy_kept *kept; /* [n_tensors] */
    struct room *room;
    int n_rooms;
    struct sy_resident *ends;
    int ends_there;
    int64_t clock;
    struct sy_first_failure first;
};

/* --- what there is -------------------------------------------------------------------------------------- */

static int n_sets(const struct sy_sharded *s) { return 2 * (s->o.params->n_layers + 1); }

static const struct sy_param *param_of(const struct sy_sharded *s, int tensor) {
    return &s->o.params->param[s->o.params->tensor[tensor].param];
}

/* A group of this size where there is no transport yet. */
static struct sy_comm group_of(const struct sy_sharded *s, int experts) {
    const struct sy_mesh *m = s->o.mesh;
    const struct sy_groups *g = s->o.groups;
    if (g)
        return experts ? g->expert_shard : g->shard;
    return (struct sy_comm){.size = experts ? m->expert_shard : m->shard,
                            .rank = experts ? m->edp_rank % m->expert_shard : m->shard_rank};
}

static void list_set(struct sy_sharded *s, int layer, int experts, int *n) {
    const struct sy_params *p = s->o.params;
    struct sy_gather_set *set = &s->set[2 * (layer + 1) + experts];
    *set = (struct sy_gather_set){.comm = group_of(s, experts), .item = s->item + *n, .layer = layer};
    set->of = set->comm.size;
    for (int i = 0; i < p->n_tensors; i++) {
        const struct sy_param *q = param_of(s, i);
        int vector = q->kind == SY_PARAM_VECTOR;
        if (q->layer != layer || (q->kind == SY_PARAM_EXPERT) != experts || q->kind == SY_PARAM_BUFFER ||
            !(sy_owner_holds(&s->own, q) || sy_owner_borrows(&s->own, p, p->tensor[i].param)))
            continue;
        s->item[*n] = (struct sy_gather_item){
            .n = p->tensor[i].n, .element = vector ? sizeof(float) : sy_dtype_bytes(s->o.exec->dtype)};
        s->tensor[(*n)++] = i;
        set->n_items++;
    }
}

/* A set's shard is one message. */
static void take_set(struct sy_sharded *s, struct sy_arena *a, struct sy_gather_set *set) {
    int rank = set->comm.rank;
    const int *tensor = s->tensor + (set->item - s->item);
    char *shard = sy_arena_take(a, "stored weights", sy_gather_message(set, rank), 1);
    size_t at = 0;
    set->message = shard;
    for (int i = 0; i < set->n_items; i++) {
        struct sy_gather_item *q = &set->item[i];
        q->own = shard ? shard + at : NULL;
        s->kept[tensor[i]] =
            (struct sy_kept){shard ? shard + at : NULL, q->element, sy_gather_part(set, i, rank)};
        at += sy_gather_bytes(set, i, rank);
    }
}

static void carve(void *self, struct sy_arena *a) {
    struct sy_sharded *s = self;
    for (int i = 0; i < n_sets(s); i++)
        take_set(s, a, &s->set[i]);
    sy_gather_carve(s->gather, a);
}

/* --- creation ------------------------------------------------------------------------------------------- */

static struct sy_resident_options room_options(const struct sy_sharded *s, int ends, int only) {
    return (struct sy_resident_options){.params = s->o.params,
                                        .model = s->o.model,
                                        .moe = s->o.moe,
                                        .exec = s->o.exec,
                                        .master = s->o.master,
                                        .own = &s->own,
                                        .experts = sy_mesh_experts(s->o.mesh, s->o.mesh->ep_rank),
                                        .gathered = 1,
                                        .room_of = only,
                                        .holds = ends ? SY_RESIDENT_ENDS : SY_RESIDENT_ONE_LAYER};
}

static int is_here(const struct sy_sharded *s, int layer) {
    return sy_owner_in_stage(&s->own, &s->o.params->param[s->o.params->layer[layer].attn_norm]);
}

static int layers_here(const struct sy_sharded *s) {
    int n = 0;
    for (int l = 0; l < s->o.params->n_layers; l++)
        n += is_here(s, l);
    return n;
}

/* Without resharding each layer has its room. */
static void assign_rooms(struct sy_sharded *s) {
    int n = 0;
    for (int i = 0; i < s->n_rooms; i++)
        s->room[i].only = -1;
    for (int l = 0; l < s->o.params->n_layers && !s->o.reshard; l++)
        if (is_here(s, l))
            s->room[n++].only = l;
}

static sy_status make_lists(struct sy_sharded *s) {
    const struct sy_params *p = s->o.params;
    size_t n = (size_t)p->n_tensors + 1;
    int items = 0;
    int here = layers_here(s);
    s->n_rooms = !s->o.reshard || here < 2 ? here : 2;
    s->item = calloc(n, sizeof *s->item);
    s->tensor = calloc(n, sizeof *s->tensor);
    s->set = calloc((size_t)n_sets(s), sizeof *s->set);
    s->kept = calloc(n, sizeof *s->kept);
    s->room = calloc((size_t)s->n_rooms + 1, sizeof *s->room);
    if (!s->item || !s->tensor || !s->set || !s->kept || !s->room)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a list of %d shards", p->n_tensors);
    assign_rooms(s);
    for (int layer = -1; layer < p->n_layers; layer++)
        for (int experts = 0; experts < 2; experts++)
            list_set(s, layer, experts, &items);
    return sy_gather_create(s->o.exec, s->set, n_sets(s), &s->gather);
}

static sy_status shell(const struct sy_sharded_options *o, struct sy_sharded **out) {
    struct sy_sharded *s = calloc(1, sizeof *s);
    if (!s)
        SY_FAIL(SY_ERR_MEMORY, "no memory for sharded weights");
    s->o = *o;
    s->own = sy_mesh_owner(o->mesh, o->mesh->rank);
    sy_status status = make_lists(s);
    if (status != SY_OK) {
        sy_sharded_destroy(s);
        return status;
    }
    *out = s;
    return SY_OK;
}

sy_status sy_sharded_measure(const struct sy_sharded_options *o, struct sy_arena *arena) {
    struct sy_sharded *s;
    SY_TRY(shell(o, &s));
    struct sy_resident_options ends = room_options(s, 1, -1);
    for (int i = 0; i < n_sets(s); i++) /* as if it were there: nothing is copied into a message */
        s->set[i].message = s;
    carve(s, arena);
    sy_status status = sy_resident_measure(&ends, arena);
    for (int i = 0; i < s->n_rooms && status == SY_OK; i++) {
        struct sy_resident_options room = room_options(s, 0, s->room[i].only);
        status = sy_resident_measure(&room, arena);
    }
    sy_sharded_destroy(s);
    return status;
}

static sy_status make_rooms(struct sy_sharded *s) {
    struct sy_resident_options ends = room_options(s, 1, -1);
    SY_TRY(sy_resident_create(&ends, &s->ends));
    for (int i = 0; i < s->n_rooms; i++) {
        struct sy_resident_options room = room_options(s, 0, s->room[i].only);
        SY_TRY(sy_resident_create(&room, &s->room[i].weights));
        s->room[i].layer = -1;
    }
    return SY_OK;
}

sy_status sy_sharded_create(const struct sy_sharded_options *o, struct sy_sharded **out) {
    struct sy_sharded *s;
    SY_TRY(shell(o, &s));
    sy_status status = sy_arena_build(o->exec->device, "shards of stored weights", carve, s, &s->arena);
    if (status == SY_OK)
        status = make_rooms(s);
    if (status != SY_OK) {
        sy_sharded_destroy(s);
        return status;
    }
    *out = s;
    return SY_OK;
}

void sy_sharded_destroy(struct sy_sharded *s) {
    if (!s)
        return;
    for (int i = 0; s->room && i < s->n_rooms; i++) {
        for (int k = 0; k < 2 && s->room[i].coming; k++) /* a step ended in its middle, on every rank */
            if (sy_gather_is_begun(s->gather, 2 * (s->room[i].layer + 1) + k))
                sy_gather_wait(s->gather, 2 * (s->room[i].layer + 1) + k);
        sy_resident_destroy(s->room[i].weights);
    }
    sy_resident_destroy(s->ends);
    sy_gather_destroy(s->gather);
    sy_arena_fini(&s->arena);
    free(s->item);
    free(s->tensor);
    free(s->set);
    free(s->kept);
    free(s->room);
    free(s);
}

static struct sy_kept kept(const void *self, int tensor) {
    return ((const struct sy_sharded *)self)->kept[tensor];
}

struct sy_keeper sy_sharded_keeper(const struct sy_sharded *s) {
    return (struct sy_keeper){(void *)(uintptr_t)s, kept};
}

void sy_sharded_changed(struct sy_sharded *s) {
    s->ends_there = 0;
    for (int i = 0; i < s->n_rooms; i++) {
        assert(!s->room[i].coming && !s->room[i].users);
        s->room[i].layer = -1;
        s->room[i].wanted = 0;
    }
}

sy_status sy_sharded_status(const struct sy_sharded *s) { return sy_first_failure_said(&s->first); }
int64_t sy_sharded_sent(const struct sy_sharded *s) { return sy_gather_sent(s->gather); }

/* --- gathering ------------------------------------------------------------------------------------------ */

static void note(struct sy_sharded *s, sy_status status) { sy_first_failure_note(&s->first, status); }

/* Both sets of a layer (-1: of none), into a room. */
static void begin(struct sy_sharded *s, int layer, const struct sy_resident *room) {
    struct sy_keeper to = sy_resident_keeper(room);
    for (int k = 2 * (layer + 1); k < 2 * (layer + 1) + 2 && s->first.status == SY_OK; k++) {
        struct sy_gather_set *set = &s->set[k];
        for (int i = 0; i < set->n_items; i++)
            set->item[i].all = to.of(to.self, s->tensor[set->item - s->item + i]).at;
        note(s, sy_gather_begin(s->gather, k));
    }
}

/* Also after a failure of one: the other one's buffers may be on their way. */
static void finish(struct sy_sharded *s, int layer, struct sy_resident *room) {
    for (int k = 2 * (layer + 1); k < 2 * (layer + 1) + 2; k++)
        if (sy_gather_is_begun(s->gather, k))
            note(s, sy_gather_wait(s->gather, k));
    sy_resident_changed(room);
}

static struct room *room_of(struct sy_sharded *s, int layer) {
    for (int i = 0; i < s->n_rooms; i++)
        if (s->room[i].layer == layer)
            return &s->room[i];
    return NULL;
}

/* For a layer, the room that was used longest ago among those that may be given up. */
static struct room *free_room(struct sy_sharded *s, int layer, int also_wanted) {
    struct room *oldest = NULL;
    for (int i = 0; i < s->n_rooms; i++) {
        struct room *r = &s->room[i];
        if ((r->only < 0 || r->only == layer) && !r->users && !r->coming && (also_wanted || !r->wanted) &&
            (!oldest || r->used < oldest->used))
            oldest = r;
    }
    return oldest;
}

static struct room *ask(struct sy_sharded *s, int layer, int also_wanted) {
    struct room *r = room_of(s, layer);
    if (!r && (r = free_room(s, layer, also_wanted))) {
        r->layer = layer;
        r->coming = 1;
        begin(s, layer, r->weights);
    }
    if (r)
        r->used = ++s->clock;
    return r;
}

static void prefetch(void *self, int layer) {
    struct room *r = ask(self, layer, 0);
    if (r)
        r->wanted = 1;
}

static const struct sy_layer_weights *acquire(void *self, int layer) {
    struct sy_sharded *s = self;
    struct room *r = ask(s, layer, 1);
    assert(r); /* of two rooms one layer at a time is used, and one comes */
    if (r->coming)
        finish(s, layer, r->weights);
    r->coming = r->wanted = 0;
    r->users++;
    struct sy_weight_source there = sy_resident_source(r->weights);
    return there.acquire(there.self, layer);
}

static void release(void *self, int layer) {
    struct room *r = room_of(self, layer);
    assert(r && r->users > 0);
    r->users--;
}

static const struct sy_end_weights *ends(void *self) {
    struct sy_sharded *s = self;
    if (!s->ends_there) {
        begin(s, -1, s->ends);
        finish(s, -1, s->ends);
        s->ends_there = 1;
    }
    struct sy_weight_source there = sy_resident_source(s->ends);
    return there.ends(there.self);
}

struct sy_weight_source sy_sharded_source(struct sy_sharded *s) {
    return (struct sy_weight_source){s, prefetch, acquire, release, ends};
}
