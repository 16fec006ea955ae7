/* The end of a step (docs/NUMERICS.md 3 and 6): the verdict, AdamW on fp32 masters with BF of them and their
 * digest, expert biases.
 *
 * A group has its own lr and wd; what is frozen stays.
 *
 * g = clip G; m = fma(b1, m, (1-b1) g); v = fma(b2, v, ((1-b2) g) g), below 2^-126 both are stored as +0;
 * q = (m c1)/(sqrt(v c2) + eps); w = fma(-lr, fma(wd, w, q), w). */
#include "ops/cuda/values.cuh"

#include "base/digest.h"

enum { CHUNK = 4 * SY_THREADS * 4 };

/* --- the verdict ---------------------------------------------------------------------------------------- */

SY_KERNEL(32) judge_step(struct sy_judge op) {
    const struct sy_tally *t = op.tally;
    double norm = sqrt(sy_exact_round(&t->norm)), ratio = op.scalars->max_norm / (norm + 1e-6);
    int sound = t->n_bad == 0 && t->n_bad_router == 0 && t->bad_token == SY_NO_TOKEN &&
                t->n_bad_gradient == 0 && t->changed[0] == SY_NO_TOKEN && t->overflow == 0 &&
                (sy_f64_bits(norm) >> 52 & 0x7ff) != 0x7ff;
    if (threadIdx.x == 0)
        *op.verdict = (struct sy_verdict){
            .norm = norm, .clip = (float)(ratio < 1.0 ? ratio : 1.0), .apply = sound, .digest = {0, 0}};
}

extern "C" void sy_cuda_judge(const struct sy_exec *x, const struct sy_judge *op) {
    SY_LAUNCH(x, judge_step, 1, 32, 0, *op);
}

/* --- digests -------------------------------------------------------------------------------------------- */

/* Of a thread: what its elements of a tensor add, for both salts. */
struct digest {
    uint64_t sum[2];
};
struct keys {
    uint64_t key[2];
};
SY_DEV struct keys keys_of(uint64_t id, uint64_t first) { /* of element i: key + i golden */
    return (struct keys){
        {sy_digest_key(id, 0) + first * SY_GOLDEN, sy_digest_key(id, 1) + first * SY_GOLDEN}};
}

SY_DEV void digest_one(struct digest *d, const struct keys &k, int64_t i, float w) {
#pragma unroll
    for (int s = 0; s < 2; s++)
        d->sum[s] += sy_digest_term(k.key[s], (uint64_t)i, sy_f32_bits(w), 1);
}

struct chunk { /* elements lo .. hi - 1 of a tensor; whole: four at a time */
    int64_t lo, hi;
    int whole;
};
SY_DEV int64_t end_of_fours(const struct chunk &c) { return c.whole ? c.lo + (c.hi - c.lo) / 4 * 4 : c.lo; }

SY_DEV void add_digest(uint64_t *sum, const struct digest &d) {
#pragma unroll
    for (int s = 0; s < 2; s++) {
        uint64_t all = sy_sum_of_warp(d.sum[s]);
        if (threadIdx.x % 32 == 0)
            sy_add_i64((int64_t *)&sum[s], (int64_t)all);
    }
}

SY_DEV void digest_chunk(struct digest *d, const struct keys &k, const float *w, const struct chunk &c) {
    int64_t wide = end_of_fours(c);
#pragma unroll 2
    for (int64_t i = c.lo + 4 * threadIdx.x; i < wide; i += 4 * SY_THREADS) {
        float4 a = *(const float4 *)(w + i);
        digest_one(d, k, i, a.x);
        digest_one(d, k, i + 1, a.y);
        digest_one(d, k, i + 2, a.z);
        digest_one(d, k, i + 3, a.w);
    }
    for (int64_t i = wide + threadIdx.x; i < c.hi; i += SY_THREADS)
        digest_one(d, k, i, w[i]);
}

SY_LIST_KERNEL digest_all(const struct sy_digest_item *items, int n_items, uint64_t *sum) {
    struct digest d = {{0, 0}};
    sy_deal(items, n_items, CHUNK, [&](const struct sy_digest_item &q, int64_t lo, int64_t hi) {
        digest_chunk(&d, keys_of(q.id, q.first), q.x,
                     (struct chunk){lo, hi, ((uint64_t)(uintptr_t)q.x & 15) == 0});
    });
    add_digest(sum, d);
}

extern "C" void sy_cuda_digest(const struct sy_exec *x, const struct sy_digest_of *op) {
    unsigned blocks = sy_blocks_of_list(x, op->item, op->n_items, CHUNK);
    if (blocks > 0)
        SY_LAUNCH(x, digest_all, blocks, SY_THREADS, 0, sy_cuda_upload(x, op->item, (size_t)op->n_items),
                  op->n_items, op->sum);
}

/* --- AdamW ---------------------------------------------------------------------------------------------- */

SY_DEV float at_least_normal(float v) { return fabsf(v) < 0x1p-126f ? 0.0f : v; }

SY_DEV void update(const struct sy_scalars &c, float clip, float gradient, float *m_at, float *v_at,
                   float *w) {
    float g = clip * gradient;
    float m = at_least_normal(fmaf(c.b1, *m_at, c.one_b1 * g));
    float v = at_least_normal(fmaf(c.b2, *v_at, c.one_b2 * g * g));
    float quotient = (m * c.c1) / (sqrtf(v * c.c2) + c.eps);
    *m_at = m;
    *v_at = v;
    *w = fmaf(-c.lr, fmaf(c.wd, *w, quotient), *w);
}

struct four { /* elements of a tensor and its moments */
    float4 g, m, v, w;
};
SY_DEV struct four load_four(const struct sy_adamw_item &q, int64_t i) {
    return (struct four){*(const float4 *)(q.g + i), *(const float4 *)(q.m + i), *(const float4 *)(q.v + i),
                         *(const float4 *)(q.w + i)};
}
SY_DEV void update_four(const struct sy_adamw_item &q, const struct sy_scalars &c, float clip, int64_t i,
                        struct four *e) {
    update(c, clip, e->g.x, &e->m.x, &e->v.x, &e->w.x);
    update(c, clip, e->g.y, &e->m.y, &e->v.y, &e->w.y);
    update(c, clip, e->g.z, &e->m.z, &e->v.z, &e->w.z);
    update(c, clip, e->g.w, &e->m.w, &e->v.w, &e->w.w);
    *(float4 *)(q.m + i) = e->m;
    *(float4 *)(q.v + i) = e->v;
    *(float4 *)(q.w + i) = e->w;
    if (q.stored != q.w)
        *(uint2 *)((uint16_t *)q.stored + i) =
            make_uint2(sy_narrow2(e->w.x, e->w.y), sy_narrow2(e->w.z, e->w.w));
}

/* Updated, rounded and digested, four elements of a thread at a time where they may be: the next are on their
 * way while these are computed. */
SY_DEV void update_chunk(const struct sy_adamw_item &q, const struct sy_scalars &s, float clip,
                         const struct chunk &c, const struct keys &k, struct digest *d) {
    int64_t wide = end_of_fours(c), i = c.lo + 4 * threadIdx.x;
    struct four next;
    if (i < wide)
        next = load_four(q, i);
    while (i < wide) {
        struct four e = next;
        int64_t at = i;
        i += 4 * SY_THREADS;
        if (i < wide)
            next = load_four(q, i);
        update_four(q, s, clip, at, &e);
        digest_one(d, k, at, e.w.x);
        digest_one(d, k, at + 1, e.w.y);
        digest_one(d, k, at + 2, e.w.z);
        digest_one(d, k, at + 3, e.w.w);
    }
    for (i = wide + threadIdx.x; i < c.hi; i += SY_THREADS) {
        update(s, clip, q.g[i], &q.m[i], &q.v[i], &q.w[i]);
        if (q.stored != q.w)
            ((uint16_t *)q.stored)[i] = sy_narrow(q.w[i]);
        digest_one(d, k, i, q.w[i]);
    }
}

enum { UPDATE_CHUNK = 4 * CHUNK, UPDATE_RESIDENT = 3 };

SY_KERNEL_OF(SY_THREADS, UPDATE_RESIDENT)
adamw_all(const struct sy_adamw_item *items, int n_items, const struct sy_scalars *scalars,
          struct sy_verdict *verdict) {
    const struct sy_scalars c = *scalars;
    float clip = verdict->clip;
    int apply = verdict->apply;
    struct digest d = {{0, 0}};
    sy_deal(items, n_items, UPDATE_CHUNK, [&](const struct sy_adamw_item &item, int64_t lo, int64_t hi) {
        const struct sy_adamw_item q = item;
        const struct keys k = keys_of(q.id, q.first);
        int whole = (((uint64_t)(uintptr_t)q.g | (uint64_t)(uintptr_t)q.m | (uint64_t)(uintptr_t)q.v |
                      (uint64_t)(uintptr_t)q.w | (uint64_t)(uintptr_t)q.stored) &
                     15) == 0;
        struct sy_scalars own = c;
        if (q.grouped) {
            own.lr = c.lr * q.lr_factor;
            own.wd = q.wd;
        }
        if (apply && !q.frozen)
            update_chunk(q, own, clip, (struct chunk){lo, hi, whole}, k, &d);
        else
            digest_chunk(&d, k, q.w, (struct chunk){lo, hi, whole});
    });
    add_digest(verdict->digest, d);
}

extern "C" void sy_cuda_adamw(const struct sy_exec *x, const struct sy_adamw *op) {
    unsigned blocks = sy_blocks_of_list(x, op->item, op->n_items, UPDATE_CHUNK);
    unsigned most = UPDATE_RESIDENT * (unsigned)sy_cuda_multiprocessors(x);
    if (blocks > 0)
        SY_LAUNCH(x, adamw_all, blocks < most ? blocks : most, SY_THREADS, 0,
                  sy_cuda_upload(x, op->item, (size_t)op->n_items), op->n_items, op->scalars, op->verdict);
}

/* --- expert biases, a block a layer --------------------------------------------------------------------- */

SY_DEV int64_t sign_of(int64_t v) { return (v > 0) - (v < 0); }

SY_KERNEL(SY_THREADS)
move_biases(struct sy_expert_bias op, const int64_t *const *counts, float *const *biases) {
    const int64_t *count = counts[blockIdx.x];
    float *bias = biases[blockIdx.x];
    int sum = 0;
    if (op.verdict && !op.verdict->apply)
        return;
    for (int64_t first = 0; first < op.experts; first += SY_THREADS) {
        int64_t e = first + threadIdx.x, d = e < op.experts ? sign_of(op.routes - count[e] * op.experts) : 0;
        sum += __syncthreads_count(d > 0) - __syncthreads_count(d < 0);
    }
    for (int64_t e = threadIdx.x; e < op.experts; e += SY_THREADS) {
        int64_t d = sign_of(op.routes - count[e] * op.experts);
        double delta =
            op.center ? op.coeff * (double)(d * op.experts - sum) / (double)op.experts : op.coeff * (double)d;
        bias[e] = bias[e] + (float)delta;
    }
}

extern "C" void sy_cuda_expert_bias(const struct sy_exec *x, const struct sy_expert_bias *op) {
    if (op->n_layers > 0)
        SY_LAUNCH(x, move_biases, (unsigned)op->n_layers, SY_THREADS, 0, *op,
                  sy_cuda_upload(x, op->counts, (size_t)op->n_layers),
                  sy_cuda_upload(x, op->bias, (size_t)op->n_layers));
}
