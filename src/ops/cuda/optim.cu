/* The end of a step (docs/NUMERICS.md 3 and 6): the verdict, AdamW on fp32 masters with BF of them and their
 * digest, expert biases.
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

struct digest {
    uint64_t sum[2];
};

SY_DEV void digest_of4(struct digest *d, const uint64_t key[2], uint64_t at, int n, const float w[4]) {
#pragma unroll
    for (int s = 0; s < 2; s++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            d->sum[s] += j < n ? sy_digest_term(key[s], at + (uint64_t)j, sy_f32_bits(w[j]), 1) : 0;
}

SY_DEV void add_digest(uint64_t *sum, const struct digest &d) {
#pragma unroll
    for (int s = 0; s < 2; s++) {
        uint64_t all = sy_sum_of_warp(d.sum[s]);
        if (threadIdx.x % 32 == 0)
            sy_add_i64((int64_t *)&sum[s], (int64_t)all);
    }
}

/* Elements i .. i + 3, those below `end`; returns how many. */
SY_DEV int load4(const float *x, int64_t i, int64_t end, int whole, float v[4]) {
    if (whole && i + 4 <= end) {
        float4 a = *(const float4 *)(x + i);
        v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
        return 4;
    }
    for (int j = 0; j < 4; j++)
        v[j] = i + j < end ? x[i + j] : 0.0f;
    return end - i < 4 ? (int)(end - i) : 4;
}
SY_DEV void store4(float *x, int64_t i, int n, int whole, const float v[4]) {
    if (whole && n == 4) {
        *(float4 *)(x + i) = make_float4(v[0], v[1], v[2], v[3]);
        return;
    }
    for (int j = 0; j < n; j++)
        x[i + j] = v[j];
}

SY_LIST_KERNEL digest_all(const struct sy_digest_item *items, int n_items, uint64_t *sum) {
    struct digest d = {{0, 0}};
    sy_deal(items, n_items, CHUNK, [&](const struct sy_digest_item &q, int64_t lo, int64_t hi) {
        const uint64_t key[2] = {sy_digest_key(q.id, 0), sy_digest_key(q.id, 1)};
        int whole = ((uint64_t)(uintptr_t)q.x & 15) == 0;
        for (int64_t i = lo + 4 * threadIdx.x; i < hi; i += 4 * SY_THREADS) {
            float w[4];
            int n = load4(q.x, i, hi, whole, w);
            digest_of4(&d, key, q.first + (uint64_t)i, n, w);
        }
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

SY_DEV float at_least_normal(float v) { return (sy_f32_bits(v) & 0x7fffffffu) < 0x00800000u ? 0.0f : v; }

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

SY_DEV void store_bf4(void *stored, int64_t i, int n, int whole, const float w[4]) {
    uint16_t *to = (uint16_t *)stored + i;
    if (whole && n == 4)
        *(uint2 *)to = make_uint2(sy_narrow2(w[0], w[1]), sy_narrow2(w[2], w[3]));
    else
        for (int j = 0; j < n; j++)
            to[j] = sy_narrow(w[j]);
}

/* Elements i .. i + 3 (below hi): updated, rounded; w becomes the new ones. Returns how many. */
SY_DEV int update4(const struct sy_adamw_item &q, const struct sy_scalars &c, float clip, int64_t i,
                   int64_t hi, int whole, float w[4]) {
    float g[4], m[4], v[4];
    int n = load4(q.w, i, hi, whole, w);
    load4(q.g, i, hi, whole, g);
    load4(q.m, i, hi, whole, m);
    load4(q.v, i, hi, whole, v);
#pragma unroll
    for (int j = 0; j < 4; j++)
        update(c, clip, g[j], &m[j], &v[j], &w[j]);
    store4(q.m, i, n, whole, m);
    store4(q.v, i, n, whole, v);
    store4(q.w, i, n, whole, w);
    if (q.stored != q.w)
        store_bf4(q.stored, i, n, whole, w);
    return n;
}

SY_LIST_KERNEL adamw_all(const struct sy_adamw_item *items, int n_items, const struct sy_scalars *scalars,
                         struct sy_verdict *verdict) {
    const struct sy_scalars c = *scalars;
    float clip = verdict->clip;
    int apply = verdict->apply;
    struct digest d = {{0, 0}};
    sy_deal(items, n_items, CHUNK, [&](const struct sy_adamw_item &q, int64_t lo, int64_t hi) {
        const uint64_t key[2] = {sy_digest_key(q.id, 0), sy_digest_key(q.id, 1)};
        int whole = (((uint64_t)(uintptr_t)q.g | (uint64_t)(uintptr_t)q.m | (uint64_t)(uintptr_t)q.v |
                      (uint64_t)(uintptr_t)q.w | (uint64_t)(uintptr_t)q.stored) &
                     15) == 0;
        for (int64_t i = lo + 4 * threadIdx.x; i < hi; i += 4 * SY_THREADS) {
            float w[4];
            int n = apply ? update4(q, c, clip, i, hi, whole, w) : load4(q.w, i, hi, whole, w);
            digest_of4(&d, key, q.first + (uint64_t)i, n, w);
        }
    });
    add_digest(verdict->digest, d);
}

extern "C" void sy_cuda_adamw(const struct sy_exec *x, const struct sy_adamw *op) {
    unsigned blocks = sy_blocks_of_list(x, op->item, op->n_items, CHUNK);
    if (blocks > 0)
        SY_LAUNCH(x, adamw_all, blocks, SY_THREADS, 0, sy_cuda_upload(x, op->item, (size_t)op->n_items),
                  op->n_items, op->scalars, op->verdict);
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
