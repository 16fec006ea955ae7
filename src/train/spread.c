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
    const struct sy_state *s = o->state;
    const struct sy_tensor *t = &s->params->tensor[tensor];
    char *stored = sy_resident_stored(o->resident, t);
    if (!stored)
        return (struct sy_gather_item){t->n, sizeof(float), s->of[SY_STATE_W][tensor],
                                       sy_resident_vector(o->resident, t)};
    size_t element = sy_dtype_bytes(o->exec->dtype);
    return (struct sy_gather_item){t->n, element, stored + (size_t)sy_state_own(s, tensor).first * element,
                                   stored};
}

/* The tensors of a layer (-1: of none) that are experts', or that are not, as a set. */
static void add_set(struct sy_spread *s, const struct sy_spread_options *o, int layer, int experts) {
    const struct sy_params *p = o->state->params;
    struct sy_gather_set *set = &s->set[s->n_sets];
    *set = (struct sy_gather_set){.comm = experts ? o->groups->edp : o->groups->dp,
                                  .item = s->item + s->n_items};
    for (int i = 0; i < p->n_tensors; i++) {
        const struct sy_param *q = &p->param[p->tensor[i].param];
        if (q->layer != layer || (q->kind == SY_PARAM_EXPERT) != experts || q->kind == SY_PARAM_BUFFER ||
            !sy_owner_holds(&o->state->own, q))
            continue;
        s->item[s->n_items++] = item_of(o, i);
        set->n_items++;
    }
    s->n_sets += set->n_items > 0 && set->comm.size > 1;
}

static void carve(void *self, struct sy_arena *a) { sy_gather_carve(((struct sy_spread *)self)->gather, a); }

static sy_status build(struct sy_spread *s, const struct sy_spread_options *o) {
    const struct sy_params *p = o->state->params;
    s->item = calloc((size_t)p->n_tensors + 1, sizeof *s->item);
    s->set = calloc(2 * (size_t)p->n_layers + 3, sizeof *s->set);
    if (!s->item || !s->set)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a list of %d tensors", p->n_tensors);
    for (int layer = -1; layer < p->n_layers; layer++)
        for (int experts = 0; experts < 2; experts++)
            add_set(s, o, layer, experts);
    SY_TRY(sy_gather_create(o->exec, s->set, s->n_sets, &s->gather));
    return sy_arena_build(o->exec->device, "gathering of weights", carve, s, &s->arena);
}

sy_status sy_spread_create(const struct sy_spread_options *o, struct sy_spread **out) {
    struct sy_spread *s = calloc(1, sizeof *s);
    if (!s)
        SY_FAIL(SY_ERR_MEMORY, "no memory to spread weights");
    sy_status status = build(s, o);
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
