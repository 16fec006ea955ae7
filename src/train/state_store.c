/* See state_store.h. */
#include "train/state_store.h"

static const enum sy_state_kind kind_of[] = {
    [SY_CKPT_WEIGHTS] = SY_STATE_W, [SY_CKPT_ADAM_M] = SY_STATE_M, [SY_CKPT_ADAM_V] = SY_STATE_V};

static sy_status get(void *self, const struct sy_ckpt_range *r, float *x) {
    return sy_state_read(self, kind_of[r->kind], r->tensor, r->first, r->n, x);
}

static void ahead(void *self, const struct sy_ckpt_range *r) {
    sy_state_ahead(self, kind_of[r->kind], r->tensor, r->first, r->n);
}

static sy_status put(void *self, const struct sy_ckpt_range *r, const float *x) {
    return sy_state_write(self, kind_of[r->kind], r->tensor, r->first, r->n, x);
}

/* What several ranks have, as expert biases, the first of them answers for. */
static struct sy_ckpt_part part(void *self, enum sy_ckpt_kind kind, int tensor) {
    const struct sy_state *s = self;
    (void)kind;
    struct sy_range_of own = sy_state_own(s, tensor);
    int answers = sy_state_is_trained(s->params, tensor) || s->own.dense.rank == 0;
    return (struct sy_ckpt_part){own.first, own.n, answers};
}

struct sy_ckpt_store sy_state_store(struct sy_state *state, const struct sy_comm *ranks) {
    state->ahead.n = 0; /* of a save that ended early */
    return (struct sy_ckpt_store){
        .self = state, .comm = ranks, .part = part, .get = get, .ahead = ahead, .put = put};
}
