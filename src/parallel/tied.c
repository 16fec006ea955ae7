/* A weight that is used at two sites: see tied.h. */
#include "parallel/tied.h"

#include <stdlib.h>

#include "parallel/place.h"

/* --- creation ------------------------------------------------------------------------------------------- */

static int find_embedding(const struct sy_params *p) {
    int i = 0;
    while (p->tensor[i].param != p->embedding)
        i++;
    return i;
}

sy_status sy_tied_init(const struct sy_tied_options *o, struct sy_tied *t) {
    size_t n = (size_t)o->mesh->pp + 1;
    struct sy_owner first =
        sy_mesh_owner(o->mesh, o->mesh->dp_rank); /* of the first stage, with the same data */
    *t = (struct sy_tied){.tensor = -1};
    if (o->params->n_sites == 0)
        return SY_OK;
    *t = (struct sy_tied){.tensor = find_embedding(o->params),
                          .exec = o->exec,
                          .stages = o->groups ? &o->groups->pp : NULL,
                          .n_stages = o->mesh->pp,
                          .place = o->mesh->pp_rank,
                          .of_first = calloc(n, sizeof *t->of_first),
                          .of_last = calloc(n, sizeof *t->of_last),
                          .none = calloc(n, sizeof *t->none)};
    t->n = sy_owner_range(&first, o->params, t->tensor).n;
    if (t->of_first && t->of_last && t->none)
        return SY_OK;
    sy_tied_fini(t);
    SY_FAIL(SY_ERR_MEMORY, "no memory for %d stages", o->mesh->pp);
}

void sy_tied_fini(struct sy_tied *t) {
    free(t->of_first);
    free(t->of_last);
    free(t->none);
    *t = (struct sy_tied){0};
}

static int is_first(const struct sy_tied *t) { return t->place == 0; }
static int is_last(const struct sy_tied *t) { return t->place == t->n_stages - 1; }

void sy_tied_carve(struct sy_tied *t, struct sy_arena *a) {
    if (t->tensor >= 0 && is_first(t) && !is_last(t))
        t->arrived = sy_take_f32(a, "gradient of the other use", t->n);
}

/* --- a step --------------------------------------------------------------------------------------------- */

/* Part r of a message of one part is all of it. */
static void set_parts(int64_t *at, int n, int r, int64_t bytes) {
    for (int i = 0; i <= n; i++)
        at[i] = i > r ? bytes : 0;
}

/* data [bytes] of one end's rank to the other's; all stages come. */
static sy_status move(struct sy_tied *t, sy_status mine, int to_first, void *data, int64_t bytes) {
    const struct sy_device *d = t->exec->device;
    int sends = to_first ? is_last(t) : is_first(t), receives = to_first ? is_first(t) : is_last(t);
    set_parts(t->of_first, t->n_stages, 0, bytes);
    set_parts(t->of_last, t->n_stages, t->n_stages - 1, bytes);
    int64_t *goes = to_first ? t->of_first : t->of_last, *comes = to_first ? t->of_last : t->of_first;
    void *at = sends || receives ? d->alias(d, data) : NULL;
    if (mine == SY_OK)
        mine = sy_exec_wait(t->exec);
    t->bytes_sent += sends ? bytes : 0;
    SY_TRY(t->stages->ops->all_to_all_begin(t->stages, mine, sends ? at : NULL, sends ? goes : t->none,
                                            receives ? at : NULL, receives ? comes : t->none, &t->request));
    return sy_at_layer(t->stages->ops->wait(t->stages, &t->request), "the tied weight", -1);
}

sy_status sy_tied_add(struct sy_tied *t, sy_status mine, const float *embedding, float *head) {
    const struct sy_exec *x = t->exec;
    if (t->tensor < 0)
        return mine;
    if (t->n_stages > 1)
        mine = move(t, mine, 1, is_first(t) ? t->arrived : head, t->n * (int64_t)sizeof *head);
    t->sum = !is_first(t) || t->n == 0 ? NULL : is_last(t) ? head : t->arrived;
    if (mine == SY_OK && t->sum) /* not onto the embedding's, which is cleared where a step had tokens */
        x->ops->add_f32(x, &(struct sy_add_f32){&(struct sy_add_item){t->n, embedding, t->sum}, 1});
    return mine;
}

sy_status sy_tied_spread(struct sy_tied *t, const struct sy_keeper *keeper) {
    if (t->tensor < 0 || t->n_stages == 1)
        return SY_OK;
    struct sy_kept kept = keeper->of(keeper->self, t->tensor);
    return move(t, SY_OK, 0, kept.at, kept.range.n * (int64_t)kept.element);
}
