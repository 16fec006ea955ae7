/* See state_store.h. */
#include "train/state_store.h"

#include <stdlib.h>
#include <string.h>

static const enum sy_state_kind kind_of[] = {
    [SY_CKPT_WEIGHTS] = SY_STATE_W, [SY_CKPT_ADAM_M] = SY_STATE_M, [SY_CKPT_ADAM_V] = SY_STATE_V};

static struct sy_range_of both(struct sy_range_of a, struct sy_range_of b) {
    int64_t lo = a.first > b.first ? a.first : b.first,
            hi = a.first + a.n < b.first + b.n ? a.first + a.n : b.first + b.n;
    return (struct sy_range_of){lo, hi > lo ? hi - lo : 0};
}

static sy_status get(void *self, const struct sy_ckpt_range *r, float *x) {
    return sy_state_read(self, kind_of[r->kind], r->tensor, r->first, r->n, x);
}

static sy_status put(void *self, const struct sy_ckpt_range *r, const float *x) {
    struct sy_state *s = self;
    struct sy_range_of own = both((struct sy_range_of){r->first, r->n}, sy_state_own(s, r->tensor));
    if (own.n == 0)
        return SY_OK;
    return sy_state_write(s, kind_of[r->kind], r->tensor, own.first, own.n, x + (own.first - r->first));
}

struct sy_ckpt_store sy_state_store(struct sy_state *state) {
    return (struct sy_ckpt_store){.self = state, .get = get, .put = put};
}

/* --- over ranks ------------------------------------------------------------------------------------------- */

/* What of a piece comes from a rank: of what several have, from one of them. */
static struct sy_range_of from_rank(const struct sy_shared_store *s, const struct sy_ckpt_range *r,
                                    int rank) {
    struct sy_owner own = sy_mesh_owner(s->mesh, rank);
    return both((struct sy_range_of){r->first, r->n}, sy_owner_counts(&own, s->state->params, r->tensor));
}

/* Collective: a piece to rank 0, at x. */
static sy_status bring(struct sy_shared_store *s, sy_status mine, const struct sy_ckpt_range *r, float *x) {
    const struct sy_comm *c = s->world;
    struct sy_range_of own = from_rank(s, r, c->rank);
    float *come = s->piece + SY_CKPT_PIECE;
    s->asked++;
    if (mine == SY_OK && own.n > 0)
        mine = sy_state_read(s->state, kind_of[r->kind], r->tensor, own.first, own.n, s->piece);
    for (int i = 0; i < c->size; i++) {
        int64_t n = c->rank == 0 ? from_rank(s, r, i).n : 0;
        s->send_at[i + 1] = own.n * (int64_t)sizeof *x;
        s->recv_at[i + 1] = s->recv_at[i] + n * (int64_t)sizeof *x;
    }
    mine = c->ops->all_to_all(c, mine, s->piece, s->send_at, come, s->recv_at);
    s->failed = mine != SY_OK;
    for (int i = 0; i < c->size && c->rank == 0 && mine == SY_OK; i++) {
        struct sy_range_of part = from_rank(s, r, i);
        memcpy(x + (part.first - r->first) * (part.n > 0), come, (size_t)part.n * sizeof *x);
        come += part.n;
    }
    return mine;
}

static sy_status get_shared(void *self, const struct sy_ckpt_range *r, float *x) {
    return bring(self, SY_OK, r, x);
}

/* The pieces of all tensors: fn with each until it fails; how many there are, without fn. */
static sy_status walk(struct sy_shared_store *s,
                      sy_status (*fn)(void *, const struct sy_ckpt_range *, float *), int64_t *n) {
    const struct sy_params *p = s->state->params;
    for (int kind = 0; kind < SY_CKPT_KINDS; kind++)
        for (int k = 0; k < p->n_tensors; k++) {
            int tensor = p->by_name[k];
            if (kind != SY_CKPT_WEIGHTS && !sy_state_is_trained(p, tensor))
                continue;
            for (int64_t at = 0; at < p->tensor[tensor].n; at += SY_CKPT_PIECE, ++*n) {
                int64_t left = p->tensor[tensor].n - at;
                struct sy_ckpt_range r = {kind, tensor, at, left < SY_CKPT_PIECE ? left : SY_CKPT_PIECE};
                if (fn)
                    SY_TRY(fn(s, &r, s->piece));
            }
        }
    return SY_OK;
}

sy_status sy_shared_store_open(struct sy_state *state, const struct sy_mesh *mesh,
                               const struct sy_comm *world, struct sy_shared_store *s) {
    size_t ranks = (size_t)world->size + 1;
    *s = (struct sy_shared_store){.state = state,
                                  .mesh = mesh,
                                  .world = world,
                                  .piece = calloc(2 * SY_CKPT_PIECE, sizeof *s->piece),
                                  .send_at = calloc(ranks, sizeof *s->send_at),
                                  .recv_at = calloc(ranks, sizeof *s->recv_at)};
    s->store = (struct sy_ckpt_store){.self = s, .get = get_shared};
    sy_status status = s->piece && s->send_at && s->recv_at
                           ? walk(s, NULL, &s->pieces)
                           : sy_fail(SY_ERR_MEMORY, "no memory for a piece of a checkpoint");
    status = world->ops->agree(world, status);
    if (status != SY_OK) {
        free(s->piece);
        free(s->send_at);
        free(s->recv_at);
    }
    return status;
}

sy_status sy_shared_store_close(struct sy_shared_store *s, sy_status mine) {
    const struct sy_comm *c = s->world;
    int64_t n = 0;
    sy_status status = mine;
    if (c->rank > 0)
        status = walk(s, get_shared, &n);
    if (c->rank == 0 && !s->failed && s->asked < s->pieces) /* it failed elsewhere: others wait for a piece */
        status = c->ops->all_to_all(c, mine, NULL, NULL, NULL, NULL);
    else if (!s->failed)
        status = c->ops->agree(c, status);
    free(s->piece);
    free(s->send_at);
    free(s->recv_at);
    return status;
}
