/* Forward passes of an MoE layer by itself, with and without a backward to come. See public.h. */
#include <assert.h>
#include <inttypes.h>

#include "moe/public.h"

static sy_status check_call(const struct sy_moe *m, const struct sy_moe_batch *b, const float *x, const float *y,
                            struct sy_moe_slot *s) {
    if (!m->has_weights)
        SY_FAIL(SY_ERR_USAGE, "moe layer: it has no weights: call sy_moe_set_weights first");
    if (!b)
        SY_FAIL(SY_ERR_USAGE, "moe layer: the batch is NULL");
    SY_TRY(sy_moe_check_batch(m, b, s));
    if (b->n_sequences > 0 && (!x || !y))
        SY_FAIL(SY_ERR_USAGE, "moe layer: %s is NULL, and n_sequences = %" PRId64, x ? "y" : "x", b->n_sequences);
    return SY_OK;
}

/* The layer on the slot's input; outputs when all is well on all ranks. */
static sy_status pass(struct sy_moe *m, enum sy_pass kind, const struct sy_moe_batch *b, const float *x, float *y,
                      struct sy_moe_slot *s) {
    int64_t tokens = b->n_sequences * m->o.seq_len;
    struct sy_moe_call call = sy_moe_call_of(s, kind);
    call.counts = m->counts;
    call.loss = m->loss;
    call.n_bad = &m->n_bad;
    sy_moe_convert(m, tokens, sy_moe_host(m, x), s->x);
    SY_TRY(sy_moe_fwd(&m->env, &m->w, &call, s->x, &s->act, &m->work, m->y));
    size_t routes = (size_t)(tokens * m->config.top_k);
    sy_moe_convert(m, tokens, m->y, sy_moe_host(m, y));
    if (b->ids_out && routes)
        memcpy(b->ids_out, s->act.ids, routes * sizeof *b->ids_out);
    if (b->w_out && routes)
        memcpy(b->w_out, s->act.w, routes * sizeof *b->w_out);
    return SY_OK;
}

static struct sy_moe_ticket ticket_of(const struct sy_moe *m, enum sy_moe_step step, int micro_batch,
                                      const struct sy_moe_slot *s) {
    return (struct sy_moe_ticket){.step = step,
                                  .micro_batch = micro_batch,
                                  .rounds = s ? s->sequences.rounds : 0,
                                  .table = s ? sy_moe_table_hash(s, m->env.ep.size) : 0,
                                  .version = m->w.version};
}

/* The slot of a forward, still free. */
static sy_status free_slot(struct sy_moe *m, int micro_batch, struct sy_moe_slot **out) {
    if (m->o.micro_batches == 0)
        SY_FAIL(SY_ERR_USAGE, "moe layer: micro_batches = 0: it was made for sy_moe_eval alone; raise micro_batches");
    if (micro_batch < 0 || micro_batch >= m->o.micro_batches)
        SY_FAIL(SY_ERR_USAGE, "moe layer: micro_batch = %d: must be 0 to micro_batches - 1 = %d", micro_batch,
                m->o.micro_batches - 1);
    if (m->slot[micro_batch].waits)
        SY_FAIL(
            SY_ERR_USAGE,
            "moe layer: micro-batch %d waits for its backward: call sy_moe_backward, or sy_moe_discard to give it up, or "
            "take another one",
            micro_batch);
    *out = &m->slot[micro_batch];
    return SY_OK;
}

sy_status sy_moe_forward(struct sy_moe *m, int micro_batch, const struct sy_moe_batch *b, const float *x, float *y) {
    struct sy_moe_slot *s = NULL;
    sy_status status = free_slot(m, micro_batch, &s);
    if (status == SY_OK)
        status = check_call(m, b, x, y, s);
    struct sy_moe_ticket ticket = ticket_of(m, SY_MOE_FORWARD, micro_batch, status == SY_OK ? s : NULL);
    SY_TRY(sy_moe_enter(m, &ticket, status));
    assert(s);
    SY_TRY(pass(m, SY_PASS_TRAIN, b, x, y, s));
    s->waits = 1;
    return SY_OK;
}

sy_status sy_moe_eval(struct sy_moe *m, const struct sy_moe_batch *b, const float *x, float *y) {
    struct sy_moe_slot *s = NULL;
    for (int i = m->n_slots - 1; i >= 0 && !s; i--) /* its own is the last */
        s = m->slot[i].waits ? NULL : &m->slot[i];
    sy_status status = s ? check_call(m, b, x, y, s)
                         : sy_fail(SY_ERR_USAGE,
                                   "moe layer: all %d micro-batches wait for their backward: sy_moe_eval needs one (or "
                                   "recompute), raise micro_batches",
                                   m->n_slots);
    struct sy_moe_ticket ticket = ticket_of(m, SY_MOE_EVAL, 0, status == SY_OK ? s : NULL);
    SY_TRY(sy_moe_enter(m, &ticket, status));
    assert(s);
    return pass(m, SY_PASS_EVAL, b, x, y, s);
}
