/* The end of a step (NUMERICS 3 and 6): the verdict, AdamW on fp32 masters with BF of them and their digest,
 * expert biases.
 *
 * g = clip G; m = fma(b1, m, (1-b1) g); v = fma(b2, v, ((1-b2) g) g), below 2^-126 both are stored as +0;
 * q = (m c1)/(sqrt(v c2) + eps); w = fma(-lr, fma(wd, w, q), w). */
#include "base/digest.h"
#include "ops/ref/protos.h"
#include "ops/ref/rows.h"

enum { BLOCK = 1024 };

/* --- the verdict ---------------------------------------------------------------------------------------- */

/* Whether the step's numbers mean something. */
static int is_sound(const struct sy_tally *t) {
    return t->n_bad == 0 && t->n_bad_router == 0 && t->bad_token == SY_NO_TOKEN && t->n_bad_gradient == 0 &&
           t->changed[0] == SY_NO_TOKEN && t->overflow == 0;
}

void SY_FN(judge)(const struct sy_exec *x, const struct sy_judge *op) {
    double norm = sqrt(sy_exact_round(&op->tally->norm)), ratio = op->scalars->max_norm / (norm + 1e-6);
    (void)x;
    *op->verdict = (struct sy_verdict){.norm = norm,
                                       .clip = (float)(ratio < 1.0 ? ratio : 1.0),
                                       .apply = is_sound(op->tally) && isfinite(norm)};
}

/* --- lists of tensors: their 1024-blocks are dealt to the threads --------------------------------------- */

struct list {
    const struct sy_exec *x;
    const void *op;
};

static struct sy_digest *digest_of(const struct sy_exec *x, int thread) { return sy_exec_scratch(x, thread); }

static void add_digests(const struct sy_exec *x, struct sy_pool *pool, uint64_t sum[2]) {
    for (int i = 0; i < sy_pool_size(pool); i++)
        for (int s = 0; s < 2; s++)
            sum[s] += digest_of(x, i)->sum[s];
}

static inline float at_least_normal(float v) {
    return (sy_f32_bits(v) & 0x7fffffffu) < 0x00800000u ? 0.0f : v;
}

static void update(const struct sy_adamw_item *q, const struct sy_scalars *s, float clip, int64_t lo,
                   int64_t hi) {
    struct sy_scalars c = *s;
    if (q->grouped) {
        c.lr = c.lr * q->lr_factor;
        c.wd = q->wd;
    }
    const float *restrict gradient = q->g;
    float *restrict qm = q->m, *restrict qv = q->v, *restrict w = q->w;
    for (int64_t i = lo; i < hi; i++) {
        float g = clip * gradient[i];
        float m = at_least_normal(fmaf(c.b1, qm[i], c.one_b1 * g));
        float v = at_least_normal(fmaf(c.b2, qv[i], c.one_b2 * g * g));
        float quotient = (m * c.c1) / (sqrtf(v * c.c2) + c.eps);
        qm[i] = m;
        qv[i] = v;
        w[i] = fmaf(-c.lr, fmaf(c.wd, w[i], quotient), w[i]);
    }
}

/* Blocks of a few KB go through cache once: updated, rounded, digested. */
static void adamw_part(void *arg, int thread, int n_threads) {
    const struct list *l = arg;
    const struct sy_adamw *op = l->op;
    struct sy_digest d = {{0, 0}};
    for (int k = 0; k < op->n_items; k++) {
        const struct sy_adamw_item *q = &op->item[k];
        int64_t lo, hi;
        sy_range(q->n, BLOCK, thread, n_threads, &lo, &hi);
        for (int64_t i = lo; i < hi; i += 4 * BLOCK) {
            int64_t end = i + 4 * BLOCK < hi ? i + 4 * BLOCK : hi;
            if (op->verdict->apply && !q->frozen) {
                update(q, op->scalars, op->verdict->clip, i, end);
                if (q->stored != q->w)
                    narrow(l->x, l->x->dtype, end - i, q->w + i, sy_at(q->stored, l->x->dtype, i));
            }
            sy_digest_add(&d, q->id, q->first + (uint64_t)i, q->w + i, (size_t)(end - i), 1);
        }
    }
    *digest_of(l->x, thread) = d;
}

void SY_FN(adamw)(const struct sy_exec *x, const struct sy_adamw *op) {
    int64_t n = 0;
    for (int k = 0; k < op->n_items; k++)
        n += op->item[k].n;
    struct sy_pool *pool = pool_for(x, n);
    sy_pool_run(pool, adamw_part, &(struct list){x, op});
    add_digests(x, pool, op->verdict->digest);
}

static void digest_part(void *arg, int thread, int n_threads) {
    const struct list *l = arg;
    const struct sy_digest_of *op = l->op;
    struct sy_digest d = {{0, 0}};
    for (int k = 0; k < op->n_items; k++) {
        const struct sy_digest_item *q = &op->item[k];
        int64_t lo, hi;
        sy_range(q->n, BLOCK, thread, n_threads, &lo, &hi);
        sy_digest_add(&d, q->id, q->first + (uint64_t)lo, q->x + lo, (size_t)(hi - lo), 1);
    }
    *digest_of(l->x, thread) = d;
}

void SY_FN(digest)(const struct sy_exec *x, const struct sy_digest_of *op) {
    sy_pool_run(x->pool, digest_part, &(struct list){x, op});
    add_digests(x, x->pool, op->sum);
}

static void cast_part(void *arg, int thread, int n_threads) {
    const struct list *l = arg;
    const struct sy_cast *op = l->op;
    for (int k = 0; k < op->n_items; k++) {
        const struct sy_cast_item *q = &op->item[k];
        int64_t lo, hi;
        sy_range(q->n, BLOCK, thread, n_threads, &lo, &hi);
        narrow(l->x, l->x->dtype, hi - lo, q->x + lo, sy_at(q->y, l->x->dtype, lo));
    }
}

void SY_FN(cast)(const struct sy_exec *x, const struct sy_cast *op) {
    int64_t n = 0;
    for (int k = 0; k < op->n_items; k++)
        n += op->item[k].n;
    sy_pool_run(pool_for(x, n), cast_part, &(struct list){x, op});
}

/* --- expert bias ---------------------------------------------------------------------------------------- */

static int64_t sign_of(int64_t x) { return (x > 0) - (x < 0); }

static void move_bias(const struct sy_expert_bias *op, const int64_t *counts, float *bias) {
    int64_t experts = op->experts, sum = 0;
    for (int64_t e = 0; e < experts; e++)
        sum += sign_of(op->routes - counts[e] * experts);
    for (int64_t e = 0; e < experts; e++) {
        int64_t d = sign_of(op->routes - counts[e] * experts);
        double delta =
            op->center ? op->coeff * (double)(d * experts - sum) / (double)experts : op->coeff * (double)d;
        bias[e] = bias[e] + (float)delta;
    }
}

void SY_FN(expert_bias)(const struct sy_exec *x, const struct sy_expert_bias *op) {
    (void)x;
    for (int l = 0; l < op->n_layers && (!op->verdict || op->verdict->apply); l++)
        move_bias(op, op->counts[l], op->bias[l]);
}
