/* Forward passes of an MoE layer by itself, with and without a backward to come. See layerapi.h.
 *
 *     enter, rows in -> layer [more rows than planned: larger buffers, the layer again]
 *                    -> tally out, wait, agree -> rows out, counts
 */
#include <assert.h>
#include <inttypes.h>

#include "layerapi/layerapi.h"

static sy_status check_call(struct sy_moe *m, const struct sy_moe_batch *b, const float *x, const float *y,
                            struct sy_moe_slot *s) {
    if (!m->has_weights)
        SY_FAIL(SY_ERR_USAGE, "moe layer: it has no weights: call sy_moe_set_weights first");
    if (!b)
        SY_FAIL(SY_ERR_USAGE, "moe layer: the batch is NULL");
    SY_TRY(sy_moe_check_batch(m, b, s));
    if (b->n_sequences > 0 && (!x || !y))
        SY_FAIL(SY_ERR_USAGE, "moe layer: %s is NULL, and n_sequences = %" PRId64, x ? "y" : "x",
                b->n_sequences);
    return sy_moe_fit(m, s);
}

/* --- the layer --------------------------------------------------------------------------------- */

void sy_moe_clear_tally(const struct sy_moe *m) {
    sy_moe_copy(m, m->tally, &sy_tally_empty, sizeof sy_tally_empty);
    m->exec.ops->fill(&m->exec, &(struct sy_fill){.n = 2 * m->config.num_experts, .data = m->call_counts});
}

static sy_status layer(struct sy_moe *m, enum sy_pass kind, struct sy_moe_slot *s) {
    struct sy_moe_call call = sy_moe_call_of(m, s, kind);
    struct sy_moe_memory memory = sy_moe_memory_of(m, s);
    sy_moe_bind(m, s);
    sy_moe_clear_tally(m);
    m->most_rows = 0;
    return sy_moe_fwd(&m->env, &m->w, &call, &memory, s->x, m->y);
}

/* Once more with larger buffers, if it was these: every rank knows. */
static sy_status layer_that_fits(struct sy_moe *m, enum sy_pass kind, struct sy_moe_slot *s) {
    sy_status status = layer(m, kind, s);
    if (status != SY_ERR_MEMORY || m->most_rows <= m->env.planned_rows)
        return status;
    SY_TRY(sy_moe_grow(m, s));
    return layer(m, kind, s);
}

static void bring_in(const struct sy_moe *m, const struct sy_moe_slot *s, const float *x) {
    int64_t tokens = sy_moe_tokens(m, s);
    size_t routes = (size_t)(tokens * m->config.top_k);
    sy_moe_copy(m, m->io, x, sy_moe_row_bytes(m, tokens));
    sy_moe_convert(m, tokens, sy_moe_io(m), s->x);
    if (s->given.ids)
        sy_moe_copy(m, s->given.ids, m->sorted.ids, routes * sizeof *m->sorted.ids);
    if (s->given.w)
        sy_moe_copy(m, s->given.w, m->sorted.w, routes * sizeof *m->sorted.w);
}

/* What the call counted; the rows are ready to be taken out. */
static sy_status see(struct sy_moe *m, const struct sy_moe_slot *s) {
    int64_t seq = m->o.seq_len;
    sy_moe_convert(m, sy_moe_tokens(m, s), m->y, sy_moe_io(m));
    sy_moe_copy(m, &m->seen, m->tally, sizeof m->seen);
    sy_moe_copy(m, m->seen_counts, m->call_counts, (size_t)m->config.num_experts * sizeof *m->seen_counts);
    SY_TRY(sy_exec_wait(&m->exec));
    int64_t t = m->seen.bad_token;
    if (t != SY_NO_TOKEN)
        SY_FAIL(SY_ERR_NONFINITE,
                "moe layer: router: token %" PRId64 " of the batch (sequence %" PRId64 ", position %" PRId64
                ") has a NaN logit",
                t, t / seq, t % seq);
    return SY_OK;
}

static sy_status take_out(const struct sy_moe *m, const struct sy_moe_slot *s, const struct sy_moe_batch *b,
                          float *y) {
    int64_t tokens = sy_moe_tokens(m, s);
    size_t routes = (size_t)(tokens * m->config.top_k);
    sy_moe_copy(m, y, m->io, sy_moe_row_bytes(m, tokens));
    if (b->ids_out)
        sy_moe_copy(m, b->ids_out, s->act.ids, routes * sizeof *b->ids_out);
    if (b->w_out)
        sy_moe_copy(m, b->w_out, s->act.w, routes * sizeof *b->w_out);
    return sy_exec_wait(&m->exec);
}

static void count(struct sy_moe *m, enum sy_pass kind) {
    m->counters.batched_no_grad += m->seen.batched;
    if (kind != SY_PASS_TRAIN)
        return;
    for (int64_t e = 0; e < m->config.num_experts; e++)
        m->counts[e] += m->seen_counts[e];
    m->loss[0] += m->seen.router_loss[0];
    m->loss[1] += m->seen.router_loss[1];
    m->n_bad += m->seen.n_bad_router;
}

/* The layer on the slot's input; outputs and counts when all is well on all ranks. What fails behind that
 * is this rank's alone: the call was made, on all. */
static sy_status pass(struct sy_moe *m, enum sy_pass kind, const struct sy_moe_batch *b, const float *x,
                      float *y, struct sy_moe_slot *s) {
    const struct sy_comm *c = &m->env.ep;
    bring_in(m, s, x);
    SY_TRY(layer_that_fits(m, kind, s));
    SY_TRY(c->ops->agree(c, see(m, s)));
    count(m, kind);
    s->waits = kind == SY_PASS_TRAIN;
    return take_out(m, s, b, y);
}

/* --- calls ------------------------------------------------------------------------------------- */

static struct sy_moe_ticket ticket_of(const struct sy_moe *m, enum sy_moe_step step, int micro_batch,
                                      const struct sy_moe_slot *s) {
    return (struct sy_moe_ticket){.step = step,
                                  .micro_batch = micro_batch,
                                  .rounds = s ? s->sequences.rounds : 0,
                                  .table = s ? sy_moe_table_hash(s, m->env.ep.size) : 0,
                                  .version = m->version};
}

/* The slot of a forward, still free. */
static sy_status free_slot(struct sy_moe *m, int micro_batch, struct sy_moe_slot **out) {
    if (m->o.micro_batches == 0)
        SY_FAIL(SY_ERR_USAGE,
                "moe layer: micro_batches = 0: it was made for sy_moe_eval alone; raise micro_batches");
    if (micro_batch < 0 || micro_batch >= m->o.micro_batches)
        SY_FAIL(SY_ERR_USAGE, "moe layer: micro_batch = %d: must be 0 to micro_batches - 1 = %d", micro_batch,
                m->o.micro_batches - 1);
    if (m->slot[micro_batch].waits)
        SY_FAIL(SY_ERR_USAGE,
                "moe layer: micro-batch %d waits for its backward: call sy_moe_backward, or sy_moe_discard "
                "to give it "
                "up, or take another one",
                micro_batch);
    *out = &m->slot[micro_batch];
    return SY_OK;
}

sy_status sy_moe_forward(struct sy_moe *m, int micro_batch, const struct sy_moe_batch *b, const float *x,
                         float *y) {
    struct sy_moe_slot *s = NULL;
    sy_status status = free_slot(m, micro_batch, &s);
    if (status == SY_OK)
        status = check_call(m, b, x, y, s);
    struct sy_moe_ticket ticket = ticket_of(m, SY_MOE_FORWARD, micro_batch, status == SY_OK ? s : NULL);
    SY_TRY(sy_moe_enter(m, &ticket, status));
    assert(s);
    return pass(m, SY_PASS_TRAIN, b, x, y, s);
}

sy_status sy_moe_eval(struct sy_moe *m, const struct sy_moe_batch *b, const float *x, float *y) {
    struct sy_moe_slot *s = NULL;
    for (int i = m->n_slots - 1; i >= 0 && !s; i--) /* its own is the last */
        s = m->slot[i].waits ? NULL : &m->slot[i];
    sy_status status =
        s ? check_call(m, b, x, y, s)
          : sy_fail(SY_ERR_USAGE,
                    "moe layer: all %d micro-batches wait for their backward: sy_moe_eval needs one (or "
                    "recompute), raise micro_batches",
                    m->n_slots);
    struct sy_moe_ticket ticket = ticket_of(m, SY_MOE_EVAL, 0, status == SY_OK ? s : NULL);
    SY_TRY(sy_moe_enter(m, &ticket, status));
    assert(s);
    return pass(m, SY_PASS_EVAL, b, x, y, s);
}
