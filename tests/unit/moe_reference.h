/* The MoE layer written out: loops over tokens, experts and outputs, for one process (NUMERICS 3 and 4).
 * CHAIN and BF are the integer model of tests/ops; nothing of src/ops or src/moe is used, but EXP and SIG of
 * base/fmath.h. Choice is a full sort. With a plant it does one thing wrong: a negative control.
 */
#ifndef SY_TESTS_UNIT_MOE_REFERENCE_H
#define SY_TESTS_UNIT_MOE_REFERENCE_H

#include "moe_harness.h"
#include "moe_reference_losses.h"

enum plant { SOUND, TIES_TO_HIGHER_ID, COMBINE_BY_SCORE, ROUTE_TWICE, ROWS_REVERSED };

struct swiglu { /* one row of a SwiGLU network, forward and backward */
    float *gu, *h, *a, *dgu, *hw, *out, *dx;
};

struct reference {
    const struct problem *p;
    const struct batch *b;
    enum plant plant;
    struct answer *out;
    int64_t t, e, k, d, f;
    int32_t *ids;       /* [T, K] ascending */
    int32_t *picked;    /* [T, K] in order of choice */
    float *s, *w;       /* [T, E], [T, K] */
    float *logit, *aux; /* [T, E]; gradient of the losses at the logits */
    float *in;          /* [N, D] rows of the experts by route */
    float *route_dw;    /* [N] */
    struct swiglu r;    /* [N, .] */
};

static inline float chain(enum sy_numeric_class cls, int64_t k, const float *a, int64_t a_step,
                          const float *b, int64_t b_step, float acc) {
    return model_rows(cls, k, a, a_step, b, b_step, acc, RIGHT);
}

/* --- choice --------------------------------------------------------------------------------------------- */

/* The order of n values, best first; equal ones by ascending place, or the plant. */
static inline void sorted_places(const struct reference *q, int64_t n, const float *v, int32_t *place) {
    for (int64_t i = 0; i < n; i++) {
        int64_t j = i;
        for (; j > 0; j--) {
            float before = v[place[j - 1]];
            if (!(before < v[i] || (before == v[i] && q->plant == TIES_TO_HIGHER_ID)))
                break;
            place[j] = place[j - 1];
        }
        place[j] = (int32_t)i;
    }
}

static inline void choose(const struct reference *q, const float *c, int32_t *picked) {
    const struct sy_config_moe *m = &q->p->config;
    int32_t order[64], group_order[64];
    int kept[64] = {0};
    float score[64];
    int64_t groups = m->num_expert_groups > 0 ? m->num_expert_groups : 1, size = q->e / groups;
    for (int64_t g = 0; g < groups; g++) {
        sorted_places(q, size, c + g * size, order);
        float best = c[g * size + order[0]];
        score[g] = m->group_score == SY_GROUP_TOP2_SUM && size > 1 ? best + c[g * size + order[1]] : best;
    }
    sorted_places(q, groups, score, group_order);
    for (int64_t g = 0; g < (m->num_expert_groups > 0 ? m->num_limited_groups : 1); g++)
        kept[group_order[g]] = 1;
    sorted_places(q, q->e, c, order);
    for (int64_t i = 0, n = 0; i < q->e && n < q->k; i++)
        if (kept[order[i] / size])
            picked[n++] = order[i];
}

static inline void scores(const struct reference *q, const float *logit, float *s) {
    float top = -INFINITY;
    for (int64_t e = 0; e < q->e; e++)
        top = logit[e] > top ? logit[e] : top;
    for (int64_t e = 0; e < q->e; e++)
        s[e] =
            q->p->config.score_func == SY_SCORE_SIGMOID ? sy_sig_f32(logit[e]) : sy_exp_f32(logit[e] - top);
    if (q->p->config.score_func == SY_SCORE_SIGMOID)
        return;
    float inverse = 1.0f / dot64(q->e, s, NULL);
    for (int64_t e = 0; e < q->e; e++)
        s[e] = s[e] * inverse;
}

static inline void scores_of_chosen(const struct reference *q, const float *logit, const int32_t *ids,
                                    float *s) {
    float top = -INFINITY, z = 0.0f;
    for (int64_t e = 0; e < q->e; e++)
        s[e] = 0.0f;
    for (int64_t k = 0; k < q->k; k++)
        top = logit[ids[k]] > top ? logit[ids[k]] : top;
    for (int64_t k = 0; k < q->k; k++)
        z += s[ids[k]] = sy_exp_f32(logit[ids[k]] - top);
    for (int64_t k = 0; k < q->k; k++)
        s[ids[k]] = s[ids[k]] * (1.0f / z);
}

static inline void route_token(const struct reference *q, int64_t t) {
    const struct problem *p = q->p;
    const struct sy_config_moe *m = &p->config;
    int32_t *ids = q->ids + t * q->k, *picked = q->picked + t * q->k;
    float c[64], *logit = q->logit + t * q->e, *s = q->s + t * q->e, *w = q->w + t * q->k, n = 0.0f;
    int chosen_only = m->score_func == SY_SCORE_TOPK_SOFTMAX;
    for (int64_t e = 0; e < q->e; e++) {
        logit[e] = no_minus_zero(chain(p->cls, q->d, q->b->x + t * q->d, 1, p->gate + e * q->d, 1, 0.0f));
        logit[e] = m->gate_bias ? logit[e] + p->gate_bias[e] : logit[e];
    }
    if (!chosen_only)
        scores(q, logit, s);
    for (int64_t e = 0; e < q->e; e++)
        c[e] = (chosen_only ? logit[e] : s[e]) + p->expert_bias[e];
    choose(q, c, picked);
    for (int64_t k = 0; k < q->k; k++) {
        if (p->forced)
            picked[k] = (int32_t)((t % p->seq_len * q->k + k) % q->e);
        if (q->b->given)
            picked[k] = q->b->given[t * q->k + k];
    }
    for (int64_t k = 0, e = 0; e < q->e; e++)
        for (int64_t i = 0; i < q->k; i++)
            if (picked[i] == e)
                ids[k++] = (int32_t)e;
    if (chosen_only)
        scores_of_chosen(q, logit, ids, s);
    for (int64_t k = 0; k < q->k; k++)
        n += s[ids[k]];
    n += 1e-20f;
    for (int64_t k = 0; k < q->k; k++) {
        w[k] = (m->route_norm ? s[ids[k]] / n : s[ids[k]]) * (float)m->route_scale;
        if (q->b->given_w)
            w[k] = q->b->given_w[t * q->k + k];
    }
}

/* Gradient of the logits from that of the weights. */
static inline void route_token_bwd(const struct reference *q, int64_t t, const float *dw, float *dlogits) {
    const struct sy_config_moe *m = &q->p->config;
    const int32_t *ids = q->ids + t * q->k;
    const float *s = q->s + t * q->e;
    float ds[64] = {0}, dl[64] = {0}, n = 0.0f, along = 0.0f, mean = 0.0f;
    int chosen[64] = {0};
    for (int64_t k = 0; k < q->k; k++) {
        chosen[ids[k]] = 1;
        n += s[ids[k]];
    }
    n += 1e-20f;
    for (int64_t k = 0; k < q->k; k++)
        along = fmaf(dw[k] * (float)m->route_scale, s[ids[k]] / n, along);
    for (int64_t k = 0; k < q->k; k++) {
        float g = dw[k] * (float)m->route_scale;
        ds[ids[k]] = m->route_norm ? (g - along) / n : g;
    }
    for (int64_t k = 0; k < q->k; k++)
        mean = fmaf(ds[ids[k]], s[ids[k]], mean);
    for (int64_t e = 0; e < q->e; e++) {
        if (m->score_func == SY_SCORE_SIGMOID)
            dl[e] = chosen[e] ? ds[e] * (s[e] * (1.0f - s[e])) : 0.0f;
        else if (m->score_func == SY_SCORE_SOFTMAX || chosen[e])
            dl[e] = s[e] * (ds[e] - mean);
        dlogits[e] = model_bf(q->p->cls, dl[e] + q->aux[t * q->e + e]);
    }
}

/* --- SwiGLU --------------------------------------------------------------------------------------------- */

static inline struct swiglu swiglu_rows(int64_t n, int64_t d, int64_t f) {
    return (struct swiglu){room(n * 2 * f, 4), room(n * f, 4), room(n * f, 4), room(n * 2 * f, 4),
                           room(n * f, 4),     room(n * d, 4), room(n * d, 4)};
}
static inline void swiglu_free(struct swiglu *r) {
    float *all[] = {r->gu, r->h, r->a, r->dgu, r->hw, r->out, r->dx};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static inline void swiglu_row(enum sy_numeric_class cls, int64_t d, int64_t f, const float *w13,
                              const float *w2, const float *in, const struct swiglu *r, int64_t n) {
    float *gu = r->gu + n * 2 * f, *h = r->h + n * f;
    for (int64_t i = 0; i < 2 * f; i++)
        gu[i] = model_bf(cls, no_minus_zero(chain(cls, d, in, 1, w13 + i * d, 1, 0.0f)));
    for (int64_t i = 0; i < f; i++)
        h[i] = model_bf(cls, gu[i] * sy_sig_f32(gu[i]) * gu[f + i]);
    for (int64_t i = 0; i < d; i++)
        r->out[n * d + i] = model_bf(cls, no_minus_zero(chain(cls, f, h, 1, w2 + i * f, 1, 0.0f)));
}

/* From dy; w is the route's weight. Back comes that weight's gradient. */
static inline float swiglu_row_bwd(enum sy_numeric_class cls, int64_t d, int64_t f, const float *w13,
                                   const float *w2, const float *dy, float w, const struct swiglu *r,
                                   int64_t n) {
    float *gu = r->gu + n * 2 * f, *h = r->h + n * f, *a = r->a + n * f, *dgu = r->dgu + n * 2 * f, dw = 0.0f;
    for (int64_t i = 0; i < f; i++) {
        a[i] = no_minus_zero(chain(cls, d, dy, 1, w2 + i, f, 0.0f));
        float g = gu[i], sig = sy_sig_f32(g), weighted = w * a[i];
        dgu[f + i] = model_bf(cls, weighted * (g * sig));
        dgu[i] = model_bf(cls, weighted * gu[f + i] * (sig * fmaf(g, 1.0f - sig, 1.0f)));
        r->hw[n * f + i] = model_bf(cls, w * h[i]);
    }
    for (int64_t i = 0; i < f; i += 128)
        dw += dot64(f - i < 128 ? f - i : 128, a + i, h + i);
    for (int64_t i = 0; i < d; i++) {
        float acc = chain(cls, f, dgu, 1, w13 + i, d, 0.0f);
        r->dx[n * d + i] = model_bf(cls, no_minus_zero(chain(cls, f, dgu + f, 1, w13 + f * d + i, d, acc)));
    }
    return dw;
}

/* --- sums over routes and over tokens ------------------------------------------------------------------- */

/* sum over a token's experts of w v, groups each by itself; w NULL: 1. The shared term is added by the
 * caller. */
static inline float combined(const struct reference *q, int64_t t, const float *w, const float *v,
                             int64_t i) {
    int64_t groups = q->p->combine_groups, size = groups > 0 ? q->e / groups : q->e;
    float sum = 0.0f;
    for (int64_t g = 0; g * size < q->e; g++) {
        float y = 0.0f;
        for (int64_t j = 0; j < q->k; j++) {
            int64_t k = j;
            if (q->plant == COMBINE_BY_SCORE)
                for (k = 0; q->ids[t * q->k + k] != q->picked[t * q->k + j]; k++)
                    continue;
            int64_t n = t * q->k + k;
            if (q->ids[n] / size != g)
                continue;
            y = fmaf(w ? w[n] : 1.0f, v[n * q->d + i], y);
            if (q->plant == ROUTE_TWICE && n == 0)
                y = fmaf(w ? w[n] : 1.0f, v[n * q->d + i], y);
        }
        sum = groups > 0 ? sum + model_bf(q->p->cls, y) : y;
    }
    return sum;
}

/* dW [rows, cols] of expert e: CHAIN over its rows by (sequence, token), each sequence padded. */
static inline void expert_weight(const struct reference *q, int64_t e, const float *dy, int64_t rows,
                                 int64_t dy_per_token, const float *x, int64_t cols, float *dw) {
    float *a = room(q->t * q->k + 1, 4), *b = room(q->t * q->k + 1, 4);
    int64_t *route = room(q->t * q->k + 1, sizeof *route), per = q->p->seq_len * q->k;
    for (int64_t s = 0; s < q->b->sequences; s++) {
        int64_t n = 0;
        for (int64_t i = s * per; i < (s + 1) * per; i++) {
            if (q->ids[i] == e)
                route[n++] = i;
            if (q->ids[i] == e && q->plant == ROUTE_TWICE && i == 0)
                route[n++] = i;
        }
        if (n > 1 && q->plant == ROWS_REVERSED)
            for (int64_t i = 0; i < n / 2; i++) {
                int64_t swap = route[i];
                route[i] = route[n - 1 - i];
                route[n - 1 - i] = swap;
            }
        for (int64_t i = 0; i < rows * cols && n > 0; i++) {
            for (int64_t j = 0; j < n; j++) {
                a[j] = dy[route[j] / dy_per_token * rows + i / cols];
                b[j] = x[route[j] * cols + i % cols];
            }
            dw[i] = chain(q->p->cls, n, a, 1, b, 1, dw[i]);
        }
    }
    for (int64_t i = 0; i < rows * cols; i++)
        dw[i] = no_minus_zero(dw[i]);
    free(a);
    free(b);
    free(route);
}

/* A leaf for each sequence: CHAIN over its tokens. */
static inline void sequence_leaves(const struct reference *q, const float *dy, int64_t rows, const float *x,
                                   int64_t cols, float *dw) {
    int64_t len = q->p->seq_len;
    for (int64_t i = 0; i < q->b->sequences * rows * cols; i++) {
        int64_t s = i / (rows * cols), r = i / cols % rows, c = i % cols;
        dw[i] = no_minus_zero(
            chain(q->p->cls, len, dy + s * len * rows + r, rows, x + s * len * cols + c, cols, 0.0f));
    }
}

/* --- the layer ------------------------------------------------------------------------------------------ */

static inline void reference_fwd(const struct reference *q) {
    const struct problem *p = q->p;
    int before = p->config.score_before_experts;
    for (int64_t t = 0; t < q->t; t++) {
        route_token(q, t);
        for (int64_t n = t * q->k; n < (t + 1) * q->k; n++) {
            int64_t e = q->ids[n];
            for (int64_t i = 0; i < q->d; i++)
                q->in[n * q->d + i] =
                    before ? model_bf(p->cls, q->w[n] * q->b->x[t * q->d + i]) : q->b->x[t * q->d + i];
            swiglu_row(p->cls, q->d, q->f, p->w13 + e * 2 * q->f * q->d, p->w2 + e * q->d * q->f,
                       q->in + n * q->d, &q->r, n);
            q->out->v[COUNTS][e] += 1.0f + (q->plant == ROUTE_TWICE && n == 0);
        }
    }
    for (int64_t t = 0; t < q->t; t += p->seq_len)
        losses_of_sequence(p, q->b->sequences, q->logit + t * q->e, q->s + t * q->e, q->ids + t * q->k,
                           q->aux + t * q->e, q->out->loss[0]);
}

struct shared_terms { /* [T, .] */
    struct swiglu r;
    float *gated, *dys, *dlogit;
};

static inline void shared_token(const struct reference *q, struct shared_terms *h, int64_t t) {
    const struct problem *p = q->p;
    const float *x = q->b->x + t * q->d, *dy = q->b->dy + t * q->d;
    float sig = 1.0f, *dys = h->dys + t * q->d, *y = h->r.out + t * q->d;
    swiglu_row(p->cls, q->d, shared_width(p), p->s13, p->s2, x, &h->r, t);
    if (p->config.shared_gate)
        sig = sy_sig_f32(no_minus_zero(chain(p->cls, q->d, x, 1, p->sg, 1, 0.0f)));
    for (int64_t i = 0; i < q->d; i++) {
        h->gated[t * q->d + i] = p->config.shared_gate ? model_bf(p->cls, sig * y[i]) : y[i];
        dys[i] = p->config.shared_gate ? model_bf(p->cls, sig * dy[i]) : dy[i];
    }
    h->dlogit[t] = model_bf(p->cls, dot64(q->d, dy, y) * (sig * (1.0f - sig)));
    swiglu_row_bwd(p->cls, q->d, shared_width(p), p->s13, p->s2, dys, 1.0f, &h->r, t);
}

/* y and dx of a token: the terms in forward order. */
static inline void reference_token(const struct reference *q, const struct shared_terms *h, int64_t t) {
    const struct problem *p = q->p;
    int before = p->config.score_before_experts, shared = p->config.num_shared_experts > 0;
    const float *dlogits = q->out->v[DLOGITS] + t * q->e;
    for (int64_t i = 0; i < q->d; i++) {
        float y = combined(q, t, before ? NULL : q->w, q->r.out, i);
        q->out->v[Y][t * q->d + i] = model_bf(p->cls, shared ? y + h->gated[t * q->d + i] : y);
        float dx = model_bf(p->cls, no_minus_zero(chain(p->cls, q->e, dlogits, 1, p->gate + i, q->d, 0.0f)));
        dx = dx + model_bf(p->cls, combined(q, t, before ? q->w : NULL, q->r.dx, i));
        if (shared)
            dx = dx + h->r.dx[t * q->d + i];
        if (shared && p->config.shared_gate)
            dx = dx + model_bf(p->cls, no_minus_zero(chain(p->cls, 1, h->dlogit + t, 1, p->sg + i, 1, 0.0f)));
        q->out->v[DX][t * q->d + i] = model_bf(p->cls, dx);
    }
}

static inline void reference_bwd(const struct reference *q, struct shared_terms *h) {
    const struct problem *p = q->p;
    int before = p->config.score_before_experts;
    float **v = q->out->v;
    for (int64_t t = 0; t < q->t; t++) {
        for (int64_t n = t * q->k; n < (t + 1) * q->k; n++) {
            int64_t e = q->ids[n];
            float dw =
                swiglu_row_bwd(p->cls, q->d, q->f, p->w13 + e * 2 * q->f * q->d, p->w2 + e * q->d * q->f,
                               q->b->dy + t * q->d, before ? 1.0f : q->w[n], &q->r, n);
            v[DW][n] = before ? dot64(q->d, q->r.dx + n * q->d, q->b->x + t * q->d) : dw;
            v[IDS][n] = (float)e;
            v[W][n] = q->w[n];
        }
        route_token_bwd(q, t, v[DW] + t * q->k, v[DLOGITS] + t * q->e);
        if (p->config.num_shared_experts > 0)
            shared_token(q, h, t);
        reference_token(q, h, t);
    }
    for (int64_t e = 0; e < q->e; e++) {
        expert_weight(q, e, q->r.dgu, 2 * q->f, 1, q->in, q->d, v[DW13] + e * 2 * q->f * q->d);
        expert_weight(q, e, q->b->dy, q->d, q->k, q->r.hw, q->f, v[DW2] + e * q->d * q->f);
    }
    sequence_leaves(q, v[DLOGITS], q->e, q->b->x, q->d, v[DWG]);
    if (p->config.num_shared_experts == 0)
        return;
    sequence_leaves(q, h->r.dgu, 2 * shared_width(p), q->b->x, q->d, v[DS13]);
    sequence_leaves(q, h->dys, q->d, h->r.h, shared_width(p), v[DS2]);
    if (p->config.shared_gate)
        sequence_leaves(q, h->dlogit, 1, q->b->x, q->d, v[DSG]);
}

/* The whole answer; freed by the caller. Up to 64 experts. */
static inline struct answer reference_of(const struct problem *p, const struct batch *b, enum plant plant) {
    struct answer out = answer_of(p, b);
    struct reference q = {
        .p = p, .b = b, .plant = plant, .out = &out, .t = tokens_of(p, b), .d = p->d, .f = p->f};
    q.e = p->config.num_experts;
    q.k = p->config.top_k;
    int64_t n = q.t * q.k;
    struct shared_terms h = {.r = swiglu_rows(q.t, q.d, shared_width(p)),
                             .gated = room(q.t * q.d, 4),
                             .dys = room(q.t * q.d, 4),
                             .dlogit = room(q.t, 4)};
    q.ids = room(n, sizeof *q.ids);
    q.picked = room(n, sizeof *q.picked);
    q.s = room(q.t * q.e, 4);
    q.w = room(n, 4);
    q.logit = room(q.t * q.e, 4);
    q.aux = room(q.t * q.e, 4);
    q.in = room(n * q.d, 4);
    q.r = swiglu_rows(n, q.d, q.f);
    reference_fwd(&q);
    reference_bwd(&q, &h);
    void *all[] = {q.ids, q.picked, q.s, q.w, q.logit, q.aux, q.in, h.gated, h.dys, h.dlogit};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    swiglu_free(&q.r);
    swiglu_free(&h.r);
    return out;
}

#endif
