/* Backward of an MoE layer by itself: what its forward did not keep, the input's gradient, one leaf of each
 * weight's gradient. A caller's arrays are written when all is well on all ranks. See layerapi.h.
 */
#include <assert.h>
#include <inttypes.h>

#include "layerapi/layerapi.h"

static sy_status check(struct sy_moe *m, int micro_batch, const float *dy, const struct sy_moe_tensors *grads,
                       struct sy_moe_slot **out) {
    if (micro_batch < 0 || micro_batch >= m->o.micro_batches)
        SY_FAIL(SY_ERR_USAGE, "moe layer: micro_batch = %d: must be 0 to micro_batches - 1 = %d", micro_batch,
                m->o.micro_batches - 1);
    struct sy_moe_slot *s = &m->slot[micro_batch];
    if (!s->waits)
        SY_FAIL(SY_ERR_USAGE, "moe layer: backward of micro-batch %d without a forward before it",
                micro_batch);
    if (s->n_sequences > 0 && !dy)
        SY_FAIL(SY_ERR_USAGE, "moe layer: dy is NULL, and its forward had %" PRId64 " sequences",
                s->n_sequences);
    if (grads)
        SY_TRY(sy_moe_check_tensors(m, grads, 0));
    *out = s;
    return sy_moe_fit(m, NULL);
}

static sy_status recompute(struct sy_moe *m, struct sy_moe_slot *s) {
    struct sy_moe_call call = sy_moe_call_of(m, s, SY_PASS_RECOMPUTE);
    struct sy_moe_memory memory = sy_moe_memory_of(m, s);
    if (!sy_moe_recomputes(m))
        return SY_OK;
    call.saved = m->o.recompute == SY_MOE_RECOMPUTE_ROWS;
    sy_moe_bind(m, s);
    return sy_moe_fwd(&m->env, &m->w, &call, &memory, s->x, (struct sy_mat){0});
}

/* The caller's tensors that are asked for, in or out. */
static void copy_tensors(const struct sy_moe *m, const struct sy_moe_tensors *grads,
                         const struct sy_moe_tensors *mine, int out) {
    struct sy_moe_tensor list[SY_MOE_TENSORS];
    sy_moe_list_tensors(m, list);
    for (int i = 0; i < SY_MOE_TENSORS; i++) {
        float *theirs = *sy_moe_tensor_of(grads, &list[i]), *own = *sy_moe_tensor_of(mine, &list[i]);
        if (list[i].has && theirs)
            sy_moe_copy(m, out ? theirs : own, out ? own : theirs, (size_t)list[i].n * sizeof(float));
    }
}

/* Our copies of those that are asked for. */
static struct sy_moe_tensors asked_for(const struct sy_moe *m, const struct sy_moe_tensors *grads) {
    struct sy_moe_tensor list[SY_MOE_TENSORS];
    struct sy_moe_tensors mine = m->tensors;
    sy_moe_list_tensors(m, list);
    for (int i = 0; i < SY_MOE_TENSORS; i++)
        if (!*sy_moe_tensor_of(grads, &list[i]))
            *sy_moe_tensor_of(&mine, &list[i]) = NULL;
    return mine;
}

static void add_leaves(const struct sy_moe *m, const struct sy_moe_slot *s,
                       const struct sy_moe_tensors *mine) {
    struct sy_moe_leaves leaves = {.m = m, .to = mine};
    struct sy_grad_sink sink = sy_moe_leaf_sink(&leaves);
    struct sy_layer_params params = sy_moe_leaf_params(m);
    sy_moe_hand(&sink, &(struct sy_span){.n = s->n_sequences, .seq_len = m->o.seq_len},
                &(struct sy_moe_handed){.env = &m->env,
                                        .params = &params,
                                        .n = s->x,
                                        .dy = m->dy,
                                        .act = &s->act,
                                        .grad = &m->work.grad});
    sink.flush(sink.self);
}

/* What recompute found. */
static sy_status see(struct sy_moe *m) {
    sy_moe_copy(m, &m->seen, m->tally, sizeof m->seen);
    SY_TRY(sy_exec_wait(&m->exec));
    const int64_t *changed = m->seen.changed;
    if (changed[0] != SY_NO_TOKEN)
        SY_FAIL(SY_ERR_RUNTIME,
                "moe layer: recompute differs from forward at token %" PRId64 " of the batch: expert %" PRId64
                ", now %" PRId64 "; memory or hardware is faulty, or this is a bug",
                changed[0], changed[1], changed[2]);
    return SY_OK;
}

static sy_status gradients(struct sy_moe *m, struct sy_moe_slot *s, const float *dy) {
    int64_t tokens = sy_moe_tokens(m, s);
    struct sy_moe_memory memory = sy_moe_memory_of(m, s);
    sy_moe_clear_tally(m);
    SY_TRY(recompute(m, s));
    sy_moe_copy(m, m->io, dy, sy_moe_row_bytes(m, tokens));
    sy_moe_convert(m, tokens, sy_moe_io(m), m->dy);
    SY_TRY(sy_moe_bwd(&m->env, &m->w, &memory, s->x, m->dy, m->dx));
    sy_moe_convert(m, tokens, m->dx, sy_moe_io(m));
    return SY_OK;
}

sy_status sy_moe_backward(struct sy_moe *m, int micro_batch, const float *dy, float *dx,
                          struct sy_moe_tensors *grads) {
    const struct sy_comm *c = &m->env.ep;
    struct sy_moe_slot *s = NULL;
    struct sy_moe_ticket ticket = {
        .step = SY_MOE_BACKWARD, .micro_batch = micro_batch, .version = m->version};
    struct sy_moe_tensors none = {0}, mine;
    grads = grads ? grads : &none;
    SY_TRY(sy_moe_enter(m, &ticket, check(m, micro_batch, dy, grads, &s)));
    assert(s);
    SY_TRY(gradients(m, s, dy));
    mine = asked_for(m, grads);
    copy_tensors(m, grads, &mine, 0);
    add_leaves(m, s, &mine);
    SY_TRY(c->ops->agree(c, see(m)));
    copy_tensors(m, grads, &mine, 1);
    if (dx)
        sy_moe_copy(m, dx, m->io, sy_moe_row_bytes(m, sy_moe_tokens(m, s)));
    s->waits = 0;
    return sy_exec_wait(&m->exec);
}
