/* The router's auxiliary losses and their gradients at the logits (docs/NUMERICS.md 3, "Router losses").
 *
 *     sum_p      block (64 tokens of a sequence): p of each token into dl, then one chain over them an expert
 *     balance    block (sequence): f from the ids, P from the chains, the loss, g
 *     gradients  block (64 tokens): dl of each token, the balance term before the z term; one chain over lse²
 *     count      a thread a sequence: the z loss; both losses, or a bad sequence
 *
 * What one hands to the next stands in the workspace. In all of them a warp has a token. */
#include "ops/cuda/values.cuh"

enum { TOKENS = 64, WARPS = SY_THREADS / 32, BALANCE_THREADS = 512 };

struct work {       /* of all sequences */
    int64_t blocks; /* of a sequence */
    float *chain;   /* [sequences, blocks, E] */
    float *g;       /* [sequences, E] */
    float *balance; /* [sequences] */
    float *z;       /* [sequences, blocks] chains over lse² */
    int *bad;       /* [sequences, blocks] a logit is not finite */
};

struct tokens { /* first .. first + n - 1 of all, n <= 64; of sequence b */
    const struct sy_router_losses *op;
    int64_t b, block, first, experts;
    int n, lane, warp;
};

static SY_DEV struct tokens my_tokens(const struct sy_router_losses &op, const struct work &w) {
    struct tokens q = {
        .op = &op, .b = blockIdx.x / w.blocks, .block = blockIdx.x % w.blocks, .experts = op.experts};
    int64_t left = op.seq_len - q.block * TOKENS;
    q.first = q.b * op.seq_len + q.block * TOKENS;
    q.n = left < TOKENS ? (int)left : (int)TOKENS;
    q.lane = threadIdx.x % 32;
    q.warp = threadIdx.x / 32;
    return q;
}

#define FOR_MY_EXPERTS(i, experts) for (int64_t i = threadIdx.x % 32; i < (experts); i += 32)

/* --- p of a token --------------------------------------------------------------------------------------- */

/* V64 over the experts; value(i, lane) adds expert i. */
template <class F> static SY_DEV float sum_experts(int64_t experts, F value) {
    float low = 0.0f, high = 0.0f;
    FOR_MY_EXPERTS(i, experts)
        if (i & 32)
            high = value(i, high);
        else
            low = value(i, low);
    return sy_v64_of_warp(low, high);
}

/* m and Z = V64(EXP(l - m)) of a token's logits. */
static SY_DEV float exponentials(int64_t experts, const float *l, float *m) {
    float top = -INFINITY;
    FOR_MY_EXPERTS(i, experts)
        top = fmaxf(top, l[i]);
    top = *m = sy_max_of_warp(top);
    return sum_experts(experts, [=](int64_t i, float lane) { return lane + sy_exp_f32(l[i] - top); });
}

struct scores { /* p_i: s_i / n; s_i; or EXP(l_i - m) (1 / Z) */
    enum sy_score_func func;
    const float *s, *l;
    float n, m, inverse;
};

static SY_DEV struct scores scores_of(const struct sy_router_losses &op, int64_t t) {
    int64_t experts = op.experts;
    struct scores k = {op.score_func, op.s + t * experts, op.logits + t * experts, 1.0f, 0.0f, 1.0f};
    if (op.score_func == SY_ROUTER_SIGMOID)
        k.n = sum_experts(experts, [=](int64_t i, float lane) { return lane + k.s[i]; });
    if (op.score_func == SY_ROUTER_TOPK_SOFTMAX)
        k.inverse = 1.0f / exponentials(experts, k.l, &k.m);
    return k;
}

static SY_DEV float p_of(const struct scores &k, int64_t i) {
    if (k.func == SY_ROUTER_SIGMOID)
        return k.s[i] / k.n;
    return k.func == SY_ROUTER_SOFTMAX ? k.s[i] : sy_exp_f32(k.l[i] - k.m) * k.inverse;
}

/* --- balance -------------------------------------------------------------------------------------------- */

SY_KERNEL(SY_THREADS) sum_p(struct sy_router_losses op, struct work w) {
    struct tokens q = my_tokens(op, w);
    int bad = 0;
    for (int64_t i = threadIdx.x; i < q.n * q.experts; i += SY_THREADS)
        bad |= !sy_f32_finite(op.logits[q.first * q.experts + i]); /* EXP would hide some */
    bad = __syncthreads_or(bad);
    if (threadIdx.x == 0)
        w.bad[blockIdx.x] = bad;
    for (int t = q.warp; op.balance != 0.0f && t < q.n; t += WARPS) {
        struct scores k = scores_of(op, q.first + t);
        FOR_MY_EXPERTS(i, q.experts)
            op.dl[(q.first + t) * q.experts + i] = p_of(k, i);
    }
    __syncthreads();
    for (int64_t i = threadIdx.x; op.balance != 0.0f && i < q.experts; i += SY_THREADS) {
        float chain = 0.0f;
#pragma unroll 8
        for (int t = 0; t < q.n; t++)
            chain = chain + op.dl[(q.first + t) * q.experts + i];
        w.chain[blockIdx.x * q.experts + i] = chain;
    }
}

SY_KERNEL(BALANCE_THREADS) balance(struct sy_router_losses op, struct work w) {
    SY_SHARED(int, count);
    int64_t experts = op.experts, k = op.top_k, n = op.seq_len, first = blockIdx.x * n;
    float *f = (float *)(count + experts), *mean = f + experts;
    for (int64_t i = threadIdx.x; i < experts; i += BALANCE_THREADS)
        count[i] = 0;
    __syncthreads();
    for (int64_t i = first * k + threadIdx.x; i < (first + n) * k; i += BALANCE_THREADS)
        atomicAdd(&count[op.ids[i]], 1);
    __syncthreads();
    for (int64_t i = threadIdx.x; i < experts; i += BALANCE_THREADS) {
        float sum = 0.0f;
#pragma unroll 8
        for (int64_t block = 0; block < w.blocks; block++)
            sum = sum + w.chain[(blockIdx.x * w.blocks + block) * experts + i];
        mean[i] = sum * (float)(1.0 / (double)n);
        f[i] = (float)((double)(count[i] * experts) / (double)(k * n));
        w.g[blockIdx.x * experts + i] = (float)((double)op.balance * (double)f[i] / (double)n);
    }
    __syncthreads();
    if (threadIdx.x >= 32)
        return;
    float loss = sum_experts(experts, [=](int64_t i, float lane) { return fmaf(f[i], mean[i], lane); });
    if (threadIdx.x == 0)
        w.balance[blockIdx.x] = loss;
}

/* --- gradients ------------------------------------------------------------------------------------------ */

static SY_DEV void balance_gradient(const struct tokens &q, const float *g, int64_t t) {
    struct scores k = scores_of(*q.op, t);
    float mean = sum_experts(q.experts, [&](int64_t i, float lane) { return fmaf(g[i], p_of(k, i), lane); });
    FOR_MY_EXPERTS(i, q.experts) {
        float s = k.s[i];
        q.op->dl[t * q.experts + i] =
            k.func == SY_ROUTER_SIGMOID ? (g[i] - mean) / k.n * (s * (1.0f - s)) : p_of(k, i) * (g[i] - mean);
    }
}

/* Adds the z term to the token's dl; returns lse. */
static SY_DEV float z_gradient(const struct tokens &q, int64_t t) {
    const float *l = q.op->logits + t * q.experts;
    float m, z = exponentials(q.experts, l, &m), lse = m + sy_log_f32(z), inverse = 1.0f / z;
    float c = (float)(2.0 * (double)q.op->z / (double)q.op->seq_len) * lse;
    FOR_MY_EXPERTS(i, q.experts) {
        float *dl = &q.op->dl[t * q.experts + i];
        *dl = *dl + c * (sy_exp_f32(l[i] - m) * inverse);
    }
    return lse;
}

SY_KERNEL(SY_THREADS) gradients(struct sy_router_losses op, struct work w) {
    __shared__ float lse[TOKENS];
    struct tokens q = my_tokens(op, w);
    for (int t = q.warp; t < q.n; t += WARPS) {
        if (op.balance != 0.0f)
            balance_gradient(q, w.g + q.b * q.experts, q.first + t);
        else
            FOR_MY_EXPERTS(i, q.experts)
                op.dl[(q.first + t) * q.experts + i] = 0.0f;
        float v = op.z != 0.0f ? z_gradient(q, q.first + t) : 0.0f;
        if (q.lane == 0)
            lse[t] = v;
    }
    __syncthreads();
    if (threadIdx.x != 0)
        return;
    float chain = 0.0f;
    for (int t = 0; t < q.n; t++)
        chain = fmaf(lse[t], lse[t], chain);
    w.z[blockIdx.x] = chain;
}

/* --- the losses ----------------------------------------------------------------------------------------- */

static SY_DEV int64_t fixed_point(float loss) {
    return (int64_t)rint((double)(loss < 4096.0f ? loss : 4096.0f) * 0x1p24);
}

SY_KERNEL(SY_THREADS) count(struct sy_router_losses op, struct work w) {
    int64_t b = (int64_t)blockIdx.x * SY_THREADS + threadIdx.x;
    if (b >= op.sequences)
        return;
    float loss = op.balance != 0.0f ? w.balance[b] : 0.0f, z = 0.0f;
    int bad = 0;
    for (int64_t i = b * w.blocks; i < (b + 1) * w.blocks; i++) {
        z = z + w.z[i];
        bad |= w.bad[i];
    }
    z = z * (float)(1.0 / (double)op.seq_len);
    if (bad || !sy_f32_finite(loss) || !sy_f32_finite(z)) {
        sy_add_i64(op.n_bad, 1);
        return;
    }
    sy_add_i64(&op.loss[0], fixed_point(loss));
    sy_add_i64(&op.loss[1], fixed_point(z));
}

extern "C" void sy_cuda_router_losses(const struct sy_exec *x, const struct sy_router_losses *op) {
    struct work w = {.blocks = (op->seq_len + TOKENS - 1) / TOKENS};
    int64_t all = op->sequences * w.blocks, experts = op->experts, floats = all * (experts + 2);
    floats += op->sequences * (experts + 1);
    if (all == 0 || !(w.chain = (float *)sy_cuda_workspace(x, (size_t)floats * sizeof(float))))
        return;
    w.g = w.chain + all * experts;
    w.balance = w.g + op->sequences * experts;
    w.z = w.balance + op->sequences;
    w.bad = (int *)(w.z + all);
    SY_LAUNCH(x, sum_p, (unsigned)all, SY_THREADS, 0, *op, w);
    if (op->balance != 0.0f)
        SY_LAUNCH(x, balance, (unsigned)op->sequences, BALANCE_THREADS, (size_t)(12 * experts), *op, w);
    SY_LAUNCH(x, gradients, (unsigned)all, SY_THREADS, 0, *op, w);
    if (op->loss)
        SY_LAUNCH(x, count, sy_cuda_blocks(op->sequences, SY_THREADS), SY_THREADS, 0, *op, w);
}
