/* Masters and moments: see state.h. */
#include "train/state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void carve(void *self, struct sy_arena *a) {
    static const char *const tags[] = {"master weights", "moments", "moments"};
    struct sy_state *s = self;
    for (int k = 0; k < (s->has_moments ? SY_STATE_KINDS : 1); k++)
        for (int i = 0; i < s->params->n_tensors; i++) {
            const struct sy_tensor *t = &s->params->tensor[i];
            if (k != SY_STATE_W && !sy_state_is_trained(s->params, i))
                continue;
            struct sy_range_of own = sy_state_own(s, i);
            s->of[k][i] = sy_take_f32(a, tags[k], own.n);
            if (k == SY_STATE_W && t->first_row == 0 && own.n == t->n)
                s->master[t->param] = s->of[k][i];
        }
}

static sy_status shell(const struct sy_params *params, const struct sy_exec *exec, const struct sy_owner *own,
                       int moments, struct sy_state *s) {
    *s = (struct sy_state){.params = params, .exec = exec, .own = *own, .has_moments = moments};
    int failed = 0;
    for (int k = 0; k < SY_STATE_KINDS; k++)
        failed |= !(s->of[k] = calloc((size_t)params->n_tensors + 1, sizeof **s->of));
    failed |= !(s->master = calloc((size_t)params->n_params + 1, sizeof *s->master));
    if (!failed)
        return SY_OK;
    sy_state_fini(s);
    SY_FAIL(SY_ERR_MEMORY, "no memory for a list of %d tensors", params->n_tensors);
}

void sy_state_fini(struct sy_state *s) {
    sy_arena_fini(&s->arena);
    sy_arena_fini(&s->ahead.arena);
    for (int k = 0; k < SY_STATE_KINDS; k++)
        free(s->of[k]);
    free(s->master);
    *s = (struct sy_state){0};
}

sy_status sy_state_measure(const struct sy_params *params, const struct sy_exec *exec,
                           const struct sy_owner *own, int moments, struct sy_arena *arena) {
    struct sy_state s;
    SY_TRY(shell(params, exec, own, moments, &s));
    carve(&s, arena);
    sy_state_fini(&s);
    return SY_OK;
}

sy_status sy_state_init(const struct sy_params *params, const struct sy_exec *exec,
                        const struct sy_owner *own, int moments, struct sy_state *out) {
    struct sy_state *s = out;
    SY_TRY(shell(params, exec, own, moments, s));
    sy_status status = sy_arena_build(exec->device, "master weights and moments", carve, s, &s->arena);
    if (status != SY_OK)
        sy_state_fini(s);
    return status;
}

/* The element `first` of a tensor, whose n elements this rank owns. */
static float *at(const struct sy_state *s, enum sy_state_kind kind, int tensor, int64_t first, int64_t n) {
    struct sy_range_of own = sy_state_own(s, tensor);
    assert(first >= own.first && first + n <= own.first + own.n && s->of[kind][tensor]);
    return s->of[kind][tensor] + (first - own.first);
}

static void carve_ahead(void *self, struct sy_arena *a) {
    struct sy_state_ahead *h = self;
    h->x = sy_take_f32(a, "checkpoint", SY_STATE_AHEAD);
}

void sy_state_ahead(struct sy_state *s, enum sy_state_kind kind, int tensor, int64_t first, int64_t n) {
    const struct sy_device *d = s->exec->device;
    struct sy_state_ahead *h = &s->ahead;
    if (sy_device_is_cpu(d) || n > SY_STATE_AHEAD)
        return;
    if (!h->x && sy_arena_pinned(d, "a piece of a checkpoint", carve_ahead, h, &h->arena) != SY_OK)
        return;
    d->copy(d, h->x, at(s, kind, tensor, first, n), (size_t)n * sizeof *h->x);
    h->kind = kind;
    h->tensor = tensor;
    h->first = first;
    h->n = n;
}

sy_status sy_state_read(struct sy_state *s, enum sy_state_kind kind, int tensor, int64_t first, int64_t n,
                        float *out) {
    const struct sy_device *d = s->exec->device;
    struct sy_state_ahead *h = &s->ahead;
    int comes = h->n == n && h->first == first && h->tensor == tensor && h->kind == kind;
    h->n = 0;
    if (!comes)
        d->copy(d, out, at(s, kind, tensor, first, n), (size_t)n * sizeof *out);
    SY_TRY(sy_exec_wait(s->exec));
    if (comes)
        memcpy(out, h->x, (size_t)n * sizeof *out);
    return SY_OK;
}

sy_status sy_state_write(struct sy_state *s, enum sy_state_kind kind, int tensor, int64_t first, int64_t n,
                         const float *in) {
    const struct sy_device *d = s->exec->device;
    s->ahead.n = 0;
    d->copy(d, at(s, kind, tensor, first, n), in, (size_t)n * sizeof *in);
    return sy_exec_wait(s->exec);
}
