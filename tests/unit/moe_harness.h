/* Runs the MoE layer on a problem, a batch and a layout of moe_case.h: a rank, a micro-batch on a rank
 * (slot), and a whole run of all ranks (job). A rank is in moe_rank.h. Memory of the layer starts as NaN.
 *
 * Ranks are threads: in there nothing asserts, a failure is a status.
 */
#ifndef SY_TESTS_UNIT_MOE_HARNESS_H
#define SY_TESTS_UNIT_MOE_HARNESS_H

#include "moe_rank.h"

/* --- a micro-batch on a rank ---------------------------------------------------------------------------- */

enum keep { KEEP_ALL, KEEP_ROWS, KEEP_NOTHING }; /* from forward to backward; but for the first: recompute */

struct slot {
    struct rank *r;
    const struct batch *b;
    const struct layout *l;
    struct answer *out;
    enum keep keep;
    int check;
    struct sy_moe_act act;
    struct sy_exchange exchange;
    struct sy_tally tally; /* of the last pass */
    struct sy_arena act_arena, saved_arena, check_arena;
    int64_t n_sequences, number[MAX_SEQUENCES], of[MAX_RANKS * MAX_ROUNDS];
    struct sy_mat n, dy, y, dn; /* [T, D] of this rank */
    struct sy_routes given;
};

static inline void take_act(void *arg, struct sy_arena *a) {
    struct slot *s = arg;
    sy_moe_take(&s->r->env, a, &s->act);
}
static inline void take_saved(void *arg, struct sy_arena *a) {
    struct slot *s = arg;
    sy_moe_take_saved(&s->r->env, a, &s->act);
}
static inline void take_check(void *arg, struct sy_arena *a) {
    struct slot *s = arg;
    sy_moe_take_check(&s->r->env, a, &s->act);
}

/* Rows of this rank's sequences out of those of all, `width` floats a token. */
static inline void rows_in(const struct slot *s, enum sy_dtype t, int64_t width, const float *all,
                           void *mine) {
    int64_t per = s->r->p->seq_len * width;
    for (int64_t i = 0; i < s->n_sequences * per; i++)
        put(t, mine, i, all[s->number[i / per] * per + i % per]);
}
static inline void rows_out(const struct slot *s, enum sy_dtype t, int64_t width, const void *mine,
                            float *all) {
    int64_t per = s->r->p->seq_len * width;
    for (int64_t i = 0; i < s->n_sequences * per; i++)
        all[s->number[i / per] * per + i % per] = get(t, mine, i);
}

static inline struct sy_mat token_mat(const struct slot *s) {
    int64_t n = s->n_sequences * s->r->p->seq_len * s->r->p->d;
    struct sy_mat m = sy_mat_of(room(n, sy_dtype_bytes(s->r->x.dtype)), s->r->x.dtype, s->r->p->d);
    memset(m.data, 0xff, (size_t)n * sy_dtype_bytes(s->r->x.dtype));
    return m;
}

static inline sy_status slot_open(struct slot *s, struct rank *r, const struct batch *b,
                                  const struct layout *l, struct answer *out, enum keep keep, int check) {
    int rank = r->env.ep.rank;
    int64_t k = r->p->config.top_k;
    *s = (struct slot){.r = r, .b = b, .l = l, .out = out, .keep = keep, .check = check};
    s->n_sequences = numbers_of(l, rank, s->number);
    for (int i = 0; i < l->ranks; i++)
        for (int j = 0; j < l->rounds; j++)
            s->of[i * l->rounds + j] =
                l->known ? l->of[i][j] : l->of[rank][j]; /* not known: the first row alone is read */
    s->n = token_mat(s);
    s->dy = token_mat(s);
    s->y = token_mat(s);
    s->dn = token_mat(s);
    rows_in(s, r->x.dtype, r->p->d, b->x, s->n.data);
    rows_in(s, r->x.dtype, r->p->d, b->dy, s->dy.data);
    if (b->given) {
        s->given.ids = room(s->n_sequences * r->p->seq_len * k, sizeof(int32_t));
        for (int64_t i = 0; i < s->n_sequences * r->p->seq_len * k; i++)
            s->given.ids[i] =
                b->given[s->number[i / (r->p->seq_len * k)] * r->p->seq_len * k + i % (r->p->seq_len * k)];
    }
    if (b->given_w) {
        s->given.w = room(s->n_sequences * r->p->seq_len * k, sizeof(float));
        rows_in(s, SY_F32, k, b->given_w, s->given.w);
    }
    SY_TRY(sy_moe_exchange_init(&r->env, &s->exchange));
    s->act.exchange = &s->exchange;
    SY_TRY(arena_for(take_act, s, &s->act_arena));
    if (keep == KEEP_ROWS)
        SY_TRY(arena_for(take_saved, s, &s->saved_arena));
    return check ? arena_for(take_check, s, &s->check_arena) : SY_OK;
}

static inline void slot_close(struct slot *s) {
    free(s->n.data);
    free(s->dy.data);
    free(s->y.data);
    free(s->dn.data);
    free(s->given.ids);
    free(s->given.w);
    sy_exchange_fini(&s->exchange);
    sy_arena_fini(&s->act_arena);
    sy_arena_fini(&s->saved_arena);
    sy_arena_fini(&s->check_arena);
}

/* Blocks and what is between them. */
static inline void fill_with_nan(struct sy_arena *a) {
#if SY_ARENA_GUARD
    __asan_unpoison_memory_region(a->base, a->size);
#endif
    memset(a->base, 0xff, a->size);
}

/* Collective. A pass RECOMPUTE starts with NaN in all that was not kept. Losses are added to the answer's. */
static inline sy_status slot_fwd(struct slot *s, enum sy_pass pass) {
    struct rank *r = s->r;
    int rank = r->env.ep.rank;
    struct sy_moe_call call = {.pass = pass,
                               .saved = s->keep == KEEP_ROWS,
                               .n_sequences = s->n_sequences,
                               .seq_len = r->p->seq_len,
                               .sequences = {s->l->rounds, s->of, s->l->known},
                               .layers = 1,
                               .given = s->b->given ? &s->given : NULL,
                               .counts = s->out->rank_counts[rank],
                               .tally = &s->tally};
    struct sy_moe_memory memory = {&s->act, &r->grad, &r->scratch};
    s->tally = sy_tally_empty;
    if (pass == SY_PASS_RECOMPUTE)
        fill_with_nan(&s->act_arena);
    SY_TRY(sy_moe_fwd(&r->env, &r->w, &call, &memory, s->n, s->y));
    for (int i = 0; i < 2; i++)
        s->out->loss[rank][i] += s->tally.router_loss[i];
    s->out->n_bad[rank] += s->tally.n_bad_router;
    if (pass == SY_PASS_RECOMPUTE)
        return SY_OK;
    int64_t per = r->p->seq_len * r->p->config.top_k;
    rows_out(s, r->x.dtype, r->p->d, s->y.data, s->out->v[Y]);
    rows_out(s, SY_F32, r->p->config.top_k, s->act.w, s->out->v[W]);
    for (int64_t i = 0; i < s->n_sequences * per; i++)
        s->out->v[IDS][s->number[i / per] * per + i % per] = (float)s->act.ids[i];
    return SY_OK;
}

/* One leaf for each of this rank's sequences: dW [rows, cols] = CHAIN over its tokens of (dy, x). */
static inline void leaves(const struct slot *s, int64_t rows, int64_t cols, struct sy_mat dy, struct sy_mat x,
                          float *dw) {
    const struct sy_exec *exec = &s->r->x;
    for (int64_t b = 0; b < s->n_sequences; b++) {
        struct sy_dw q = {.rows = sy_rows_dense(s->n_sequences, s->n_sequences * s->r->p->seq_len),
                          .first = b,
                          .n_segments = 1,
                          .m = rows,
                          .n = cols,
                          .dy = dy,
                          .x = x,
                          .c = dw + s->number[b] * rows * cols};
        exec->ops->linear_dw(exec, &(struct sy_linear_dw){&q, 1});
    }
}

/* CHAIN over the rows of each of this rank's experts, a segment for each sequence; +0 for an expert
 * without rows. */
static inline void expert_leaves(const struct slot *s, int64_t rows, int64_t cols, struct sy_mat dy,
                                 struct sy_mat x, float *dw) {
    const struct sy_exec *exec = &s->r->x;
    const struct sy_dispatch *d = sy_moe_rows(&s->r->env, &s->act);
    struct sy_dw q = {.rows = sy_dispatch_rows_of(d),
                      .n_segments = d->sequences,
                      .m = rows,
                      .n = cols,
                      .dy = dy,
                      .x = x,
                      .c = dw + s->r->first_expert * rows * cols,
                      .c_step = rows * cols};
    exec->ops->linear_dw(exec, &(struct sy_linear_dw){&q, 1});
}

/* Collective. Backward, and the gradients of the weights. */
static inline sy_status slot_bwd(struct slot *s) {
    struct rank *r = s->r;
    const struct problem *p = r->p;
    const struct sy_moe_grad *g = &r->grad;
    int64_t e = p->config.num_experts, d = p->d, f = p->f, sf = shared_width(p), k = p->config.top_k;
    SY_TRY(sy_moe_bwd(&r->env, &r->w, &(struct sy_moe_memory){&s->act, g, &r->scratch}, s->n, s->dy, s->dn));
    rows_out(s, r->x.dtype, d, s->dn.data, s->out->v[DX]);
    rows_out(s, SY_F32, k, r->scratch.dw, s->out->v[DW]);
    rows_out(s, r->x.dtype, e, g->dlogits.data, s->out->v[DLOGITS]);
    leaves(s, e, d, g->dlogits, s->n, s->out->v[DWG]);
    expert_leaves(s, 2 * f, d, g->experts.dgu, sy_moe_inputs(&r->env, &s->act, g), s->out->v[DW13]);
    expert_leaves(s, d, f, g->dy, g->experts.h, s->out->v[DW2]);
    if (sf == 0)
        return SY_OK;
    leaves(s, 2 * sf, d, g->shared.dgu, s->n, s->out->v[DS13]);
    leaves(s, d, sf, p->config.shared_gate ? g->dys : s->dy, g->shared.h, s->out->v[DS2]);
    if (p->config.shared_gate)
        leaves(s, 1, d, g->dshared_logit, s->n, s->out->v[DSG]);
    return SY_OK;
}

/* --- a whole run ---------------------------------------------------------------------------------------- */

struct job {
    const struct problem *p;
    const struct batch *b;
    const struct layout *l;
    const struct setup *s;
    enum keep keep;
    struct answer *out;
    struct sy_moe_counters counters[MAX_RANKS];
};

static inline int64_t most_sequences(const struct layout *l) {
    int64_t most = 1;
    for (int r = 0; r < l->ranks; r++)
        most = sequences_of(l, r) > most ? sequences_of(l, r) : most;
    return most;
}

/* A rank and its slot: slot_close, rank_close. */
static inline void job_open(const struct job *j, const struct sy_comm *comm, struct rank *r, struct slot *s) {
    int rounds = j->s->max_rounds > 0 ? j->s->max_rounds : j->l->rounds;
    sy_status status = rank_open(r, comm, j->p, j->s, most_sequences(j->l), rounds, j->b->sequences);
    if (status == SY_OK)
        status = slot_open(s, r, j->b, j->l, j->out, j->keep, j->keep != KEEP_ALL);
    if (status != SY_OK)
        abort(); /* no memory: the others would wait for ever */
}

static inline sy_status job_rank(const struct sy_comm *comm, void *arg) {
    struct job *j = arg;
    struct rank r;
    struct slot s;
    job_open(j, comm, &r, &s);
    sy_status status = slot_fwd(&s, SY_PASS_TRAIN);
    if (status == SY_OK && j->keep != KEEP_ALL)
        status = slot_fwd(&s, SY_PASS_RECOMPUTE);
    if (status == SY_OK)
        status = slot_bwd(&s);
    j->counters[comm->rank] = r.counters;
    slot_close(&s);
    rank_close(&r);
    return status;
}

static inline sy_status on_ranks(int ranks, sy_status (*fn)(const struct sy_comm *, void *), void *arg) {
    struct sy_comm self = sy_comm_self();
    return ranks == 1 ? fn(&self, arg) : sy_comm_threads_run(ranks, fn, arg);
}

static inline void sum_counts(struct answer *a, int ranks) {
    for (int64_t e = 0; e < a->n[COUNTS]; e++)
        a->v[COUNTS][e] = 0;
    for (int r = 0; r < ranks; r++)
        for (int64_t e = 0; e < a->n[COUNTS]; e++)
            a->v[COUNTS][e] += (float)a->rank_counts[r][e];
}

/* Forward, recompute unless all is kept, backward; the caller frees j->out, of this call. */
static inline void job_run(struct job *j, struct answer *out) {
    *out = answer_of(j->p, j->b);
    j->out = out;
    memset(j->counters, 0, sizeof j->counters);
    if (on_ranks(j->l->ranks, job_rank, j) != SY_OK)
        fail_msg("%s", sy_error_message());
    sum_counts(out, j->l->ranks);
}

#endif
