/* Backward of an MoE layer by itself: what its forward did not keep, the input's gradient, then one leaf of each weight's
 * gradient added to the caller's arrays (NUMERICS 4). W1 and W3 are fused inside and apart outside: their rows are two
 * ranges of columns of dgu. See public.h.
 */
#include <assert.h>

#include "moe/public.h"

/* --- leaves ----------------------------------------------------------------------------------------------------------- */

/* dw [rows, cols] += CHAIN of (dy, x) over `n_sequences` segments; offset [n + 1]: their rows. No rows, no leaf. */
static void add_chain(const struct sy_moe *m, int64_t n_sequences, const int64_t *offset, struct sy_mat dy, int64_t rows,
                      struct sy_mat x, int64_t cols, float *dw) {
    int n = 0;
    for (int64_t b = 0; b < n_sequences; b++) {
        int64_t lo = offset ? offset[b] : b * m->o.seq_len, hi = offset ? offset[b + 1] : lo + m->o.seq_len;
        if (hi > lo)
            m->parts[n++] = (struct sy_gemm_part){sy_mat_t(sy_mat_rows(dy, lo)), sy_mat_rows(x, lo), hi - lo};
    }
    if (n == 0)
        return;
    struct sy_gemm op = {.m = rows, .n = cols, .parts = m->parts, .n_parts = n};
    op.out = SY_GEMM_FOLD;
    op.c = sy_mat_of(dw, SY_F32, cols);
    m->exec.ops->gemm(&m->exec, &op, 1);
}

/* The same over all tokens of this rank; dw NULL: not asked for. */
static void add_dense(const struct sy_moe *m, const struct sy_moe_slot *s, struct sy_mat dy, int64_t rows, struct sy_mat x,
                      int64_t cols, float *dw) {
    if (dw)
        add_chain(m, s->n_sequences, NULL, dy, rows, x, cols, dw);
}

static void add_experts(const struct sy_moe *m, const struct sy_moe_slot *s, struct sy_mat dy, int64_t rows, struct sy_mat x,
                        int64_t cols, float *dw) {
    const struct sy_dispatch *r = sy_moe_rows(&m->env, &s->act);
    for (int64_t e = 0; e < m->n_experts && dw; e++)
        add_chain(m, r->sequences, r->offset + e * r->sequences, dy, rows, x, cols, dw + e * rows * cols);
}

static void add_gate_bias(const struct sy_moe *m, const struct sy_moe_slot *s, float *dw) {
    int64_t e = m->config.num_experts;
    if (!dw || s->n_sequences == 0)
        return;
    memset(m->leaf, 0, (size_t)e * sizeof *m->leaf);
    m->exec.ops->row_sum(&m->exec, &(struct sy_row_sum){.sequences = s->n_sequences,
                                                        .rows_per_sequence = m->o.seq_len,
                                                        .heads = 1,
                                                        .d = e,
                                                        .a = sy_heads_of(m->work.dlogits, 0, e),
                                                        .out = m->leaf});
    m->exec.ops->add_f32(&m->exec, &(struct sy_add_f32){.n = e, .x = m->leaf, .y = dw});
}

static void add_gradients(const struct sy_moe *m, const struct sy_moe_slot *s, const struct sy_moe_tensors *g) {
    const struct sy_moe_work *w = &m->work;
    int64_t d = m->o.dim, f = m->o.inter_dim, fs = m->config.num_shared_experts * f;
    add_dense(m, s, w->dlogits, m->config.num_experts, s->x, d, g->gate);
    add_gate_bias(m, s, g->gate_bias);
    add_experts(m, s, w->dgu, f, s->act.x, d, g->w1);
    add_experts(m, s, sy_mat_cols(w->dgu, f), f, s->act.x, d, g->w3);
    add_experts(m, s, w->dy, d, w->h, f, g->w2);
    if (fs == 0)
        return;
    add_dense(m, s, w->shared.dgu, fs, s->x, d, g->shared_w1);
    add_dense(m, s, sy_mat_cols(w->shared.dgu, fs), fs, s->x, d, g->shared_w3);
    add_dense(m, s, m->config.shared_gate ? w->dys : m->dy, d, w->shared.h, fs, g->shared_w2);
    if (m->config.shared_gate)
        add_dense(m, s, w->dshared_logit, 1, s->x, d, g->shared_gate);
}

/* --- backward --------------------------------------------------------------------------------------------------------- */

static sy_status check(struct sy_moe *m, int micro_batch, const float *dy, const struct sy_moe_tensors *grads,
                       struct sy_moe_slot **out) {
    if (micro_batch < 0 || micro_batch >= m->o.micro_batches)
        SY_FAIL(SY_ERR_USAGE, "moe layer: micro_batch = %d: must be 0 to micro_batches - 1 = %d", micro_batch,
                m->o.micro_batches - 1);
    struct sy_moe_slot *s = &m->slot[micro_batch];
    if (!s->waits)
        SY_FAIL(SY_ERR_USAGE, "moe layer: backward of micro-batch %d without a forward before it", micro_batch);
    if (s->n_sequences > 0 && !dy)
        SY_FAIL(SY_ERR_USAGE, "moe layer: dy is NULL, and its forward had %lld sequences", (long long)s->n_sequences);
    if (grads)
        SY_TRY(sy_moe_check_tensors(m, grads, 0));
    *out = s;
    return SY_OK;
}

static sy_status recompute(struct sy_moe *m, struct sy_moe_slot *s) {
    if (m->o.recompute == SY_MOE_RECOMPUTE_NONE)
        return SY_OK;
    struct sy_moe_call call = sy_moe_call_of(s, SY_PASS_RECOMPUTE);
    call.kept = m->o.recompute == SY_MOE_RECOMPUTE_ROWS;
    return sy_moe_fwd(&m->env, &m->w, &call, s->x, &s->act, &m->work, (struct sy_mat){0});
}

sy_status sy_moe_backward(struct sy_moe *m, int micro_batch, const float *dy, float *dx, struct sy_moe_tensors *grads) {
    struct sy_moe_slot *s = NULL;
    struct sy_moe_ticket ticket = {.step = SY_MOE_BACKWARD, .micro_batch = micro_batch, .version = m->w.version};
    SY_TRY(sy_moe_enter(m, &ticket, check(m, micro_batch, dy, grads, &s)));
    assert(s);
    SY_TRY(recompute(m, s));
    int64_t tokens = s->n_sequences * m->o.seq_len;
    sy_moe_convert(m, tokens, sy_moe_host(m, dy), m->dy);
    SY_TRY(sy_moe_bwd(&m->env, &m->w, s->n_sequences, s->x, m->dy, &s->act, &m->work, m->dx));
    if (grads)
        add_gradients(m, s, grads);
    if (dx)
        sy_moe_convert(m, tokens, m->dx, sy_moe_host(m, dx));
    s->waits = 0;
    return SY_OK;
}
