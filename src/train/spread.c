/* Updated weights to all ranks: see spread.h. */
#include "train/spread.h"

#include <stdlib.h>

struct sy_spread {
    struct sy_gather_item *item;
    struct sy_gather_set *set;
    int n_items, n_sets;
    struct sy_gather *gather;
    struct sy_arena arena;
};

static struct sy_gather_item item_of(const struct sy_spread_options *o, int tensor) {
    const struct sy_tensor *t = &o->params->tensor[tensor];
    int is_vector = o->params->param[t->param].kind == SY_PARAM_VECTOR;
    struct sy_gather_item q = {.n = t->n,
                               .element = is_vector ? sizeof(float) : sy_dtype_bytes(o->exec->dtype)};
    if (!o->state)
        return q;
    struct sy_kept to = o->keeper->of(o->keeper->self, tensor);
    int64_t first = sy_state_own(o->state, tensor).first - to.range.first;
    q.own = is_vector ? (const void *)o->state->of[SY_STATE_W][tensor]
                      : (char *)to.at + (size_t)first * to.element;
    q.all = to.at;
    return q;
}

/* The ranks that keep the same as this one, and which parts they own. */
static struct sy_gather_set set_of(const struct sy_spread_options *o, int experts) {
    const struct sy_mesh *m = o->mesh;
    const struct sy_groups *g = o->groups;
    if (experts)
        return (struct sy_gather_set){
            .comm = g ? g->expert_replicate
                      : (struct sy_comm){.size = m->expert_replicate, .rank = m->edp_rank / m->expert_shard},
            .first = m->edp_rank % m->expert_shard * m->expert_replicate,
            .of = m->edp};
    return (struct sy_gather_set){
        .comm = g ? g->replicate : (struct sy_comm){.size = m->replicate, .rank = m->replicate_rank},
        .first = m->shard_rank * m->replicate,
        .of = m->dp};
}

/* The tensors of a layer (-1: of none) that are experts', or that are not, as a set. */
static void add_set(struct sy_spread *s, const struct sy_spread_options *o, int layer, int experts) {
    const struct sy_params *p = o->params;
    struct sy_owner own = sy_mesh_owner(o->mesh, o->mesh->rank);
    struct sy_gather_set *set = &s->set[s->n_sets];
    *set = set_of(o, experts);
    set->layer = layer;
    set->item = s->item + s->n_items;
    for (int i = 0; i < p->n_tensors; i++) {
        const struct sy_param *q = &p->param[p->tensor[i].param];
        if (q->layer != layer || (q->kind == SY_PARAM_EXPERT) != experts || q->kind == SY_PARAM_BUFFER ||
            !sy_owner_holds(&own, q))
            continue;
        s->item[s->n_items++] = item_of(o, i);
        set->n_items++;
    }
    s->n_sets += set->n_items > 0;
}

static void carve(void *self, struct sy_arena *a) { sy_gather_carve(((struct sy_spread *)self)->gather, a); }

static sy_status make_lists(struct sy_spread *s, const struct sy_spread_options *o) {
    const struct sy_params *p = o->params;
    s->item = calloc((size_t)p->n_tensors + 1, sizeof *s->item);
    s->set = calloc(2 * (size_t)p->n_layers + 3, sizeof *s->set);
    if (!s->item || !s->set)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a list of %d tensors", p->n_tensors);
    for (int layer = -1; layer < p->n_layers; layer++)
        for (int experts = 0; experts < 2; experts++)
            add_set(s, o, layer, experts);
    return sy_gather_create(o->exec, s->set, s->n_sets, &s->gather);
}

static sy_status shell(const struct sy_spread_options *o, struct sy_spread **out) {
    struct sy_spread *s = calloc(1, sizeof *s);
    if (!s)
        SY_FAIL(SY_ERR_MEMORY, "no memory to spread weights");
    sy_status status = make_lists(s, o);
    if (status != SY_OK) {
        sy_spread_destroy(s);
        return status;
    }
    *out = s;
    return SY_OK;
}

sy_status sy_spread_measure(const struct sy_spread_options *o, struct sy_arena *arena) {
    struct sy_spread *s = NULL;
    SY_TRY(shell(o, &s));
    carve(s, arena);
    sy_spread_destroy(s);
    return SY_OK;
}

sy_status sy_spread_create(const struct sy_spread_options *o, struct sy_spread **out) {
    struct sy_spread *s = NULL;
    SY_TRY(shell(o, &s));
    sy_status status = sy_arena_build(o->exec->device, "gathering of weights", carve, s, &s->arena);
    if (status != SY_OK) {
        sy_spread_destroy(s);
        return status;
    }
    *out = s;
    return SY_OK;
}

void sy_spread_destroy(struct sy_spread *s) {
    if (!s)
        return;
    sy_gather_destroy(s->gather);
    sy_arena_fini(&s->arena);
    free(s->item);
    free(s->set);
    free(s);
}

sy_status sy_spread_run(struct sy_spread *s) { return sy_gather_all(s->gather); }
int64_t sy_spread_sent(const struct sy_spread *s) { return sy_gather_sent(s->gather); }
