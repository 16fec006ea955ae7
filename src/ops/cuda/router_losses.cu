/* The router's auxiliary losses and their gradients at the logits (docs/NUMERICS.md 3, "Router losses"), a
 * block a sequence, a warp a token. R64 down the tokens: dl holds p first; then row 64 b of it the chain over
 * p of tokens 64 b .. 64 b + 63, which a thread of its own walks for each (b, expert); then the gradients. */
#include "ops/cuda/values.cuh"

enum { THREADS = 512, WARPS = THREADS / 32, Z_TOKENS = 1024 };

struct sequence {
    const struct sy_router_losses *op;
    int64_t first, n, experts; /* first token; tokens */
    float *dl;
    float *f, *g, *mean; /* [E] shared */
    int lane, warp;
};

#define FOR_MY_EXPERTS(i, q) for (int64_t i = (q).lane; i < (q).experts; i += 32)
#define FOR_MY_TOKENS(t, q) for (int64_t t = (q).warp; t < (q).n; t += WARPS)

/* V64 over the experts, of value(i). */
template <class F> static SY_DEV float sum_experts(const struct sequence &q, F value) {
    float low = 0.0f, high = 0.0f;
    FOR_MY_EXPERTS(i, q)
    if (i & 32)
        high = value(i, high);
    else
        low = value(i, low);
    return sy_v64_of_warp(low, high);
}

/* m and Z = V64(EXP(l - m)) of a token's logits. */
static SY_DEV float exponentials(const struct sequence &q, const float *l, float *m) {
    float top = -INFINITY;
    FOR_MY_EXPERTS(i, q)
    top = fmaxf(top, l[i]);
    top = *m = sy_max_of_warp(top);
    return sum_experts(q, [=](int64_t i, float lane) { return lane + sy_exp_f32(l[i] - top); });
}

struct token { /* p_i: s_i / n; s_i; or EXP(l_i - m) (1 / Z) */
    const float *s, *l;
    float n, m, inverse;
};

static SY_DEV struct token normaliser(const struct sequence &q, int64_t t) {
    const struct sy_router_losses &op = *q.op;
    struct token k = {op.s + (q.first + t) * q.experts, op.logits + (q.first + t) * q.experts, 1.0f, 0.0f,
                      1.0f};
    if (op.score_func == SY_ROUTER_SIGMOID)
        k.n = sum_experts(q, [=](int64_t i, float lane) { return lane + k.s[i]; });
    if (op.score_func == SY_ROUTER_TOPK_SOFTMAX)
        k.inverse = 1.0f / exponentials(q, k.l, &k.m);
    return k;
}

static SY_DEV float p_of(const struct sy_router_losses &op, const struct token &k, int64_t i) {
    return op.score_func == SY_ROUTER_SIGMOID   ? k.s[i] / k.n
           : op.score_func == SY_ROUTER_SOFTMAX ? k.s[i]
                                                : sy_exp_f32(k.l[i] - k.m) * k.inverse;
}

/* --- balance -------------------------------------------------------------------------------------------- */

/* f: the experts' shares of the routes. */
static SY_DEV void shares(const struct sequence &q) {
    const struct sy_router_losses &op = *q.op;
    int *count = (int *)q.g; /* until g is written */
    int64_t k = op.top_k;
    for (int64_t i = threadIdx.x; i < q.experts; i += THREADS)
        count[i] = 0;
    __syncthreads();
    for (int64_t i = q.first * k + threadIdx.x; i < (q.first + q.n) * k; i += THREADS)
        atomicAdd(&count[op.ids[i]], 1);
    __syncthreads();
    for (int64_t i = threadIdx.x; i < q.experts; i += THREADS)
        q.f[i] = (float)((double)(count[i] * q.experts) / (double)(k * q.n));
    __syncthreads();
}

/* mean = R64(p) fp32(1/S). */
static SY_DEV void means(const struct sequence &q) {
    int64_t blocks = (q.n + 63) / 64;
    FOR_MY_TOKENS(t, q) {
        struct token k = normaliser(q, t);
        FOR_MY_EXPERTS(i, q)
        q.dl[t * q.experts + i] = p_of(*q.op, k, i);
    }
    __syncthreads();
    for (int64_t at = threadIdx.x; at < blocks * q.experts; at += THREADS) {
        int64_t block = at / q.experts, i = at % q.experts;
        float chain = 0.0f;
#pragma unroll 8
        for (int64_t t = 64 * block; t < 64 * block + 64 && t < q.n; t++)
            chain = chain + q.dl[t * q.experts + i];
        q.dl[64 * block * q.experts + i] = chain;
    }
    __syncthreads();
    for (int64_t i = threadIdx.x; i < q.experts; i += THREADS) {
        float sum = 0.0f;
#pragma unroll 8
        for (int64_t block = 0; block < blocks; block++)
            sum = sum + q.dl[64 * block * q.experts + i];
        q.mean[i] = sum * (float)(1.0 / (double)q.n);
    }
}

/* The same loss in each warp. */
static SY_DEV float balance_loss(const struct sequence &q) {
    shares(q);
    means(q);
    for (int64_t i = threadIdx.x; i < q.experts; i += THREADS)
        q.g[i] = (float)((double)q.op->balance * (double)q.f[i] / (double)q.n);
    __syncthreads();
    return sum_experts(q, [&](int64_t i, float lane) { return fmaf(q.f[i], q.mean[i], lane); });
}

static SY_DEV void balance_gradient(const struct sequence &q, int64_t t) {
    const struct sy_router_losses &op = *q.op;
    struct token k = normaliser(q, t);
    float mean = sum_experts(q, [&](int64_t i, float lane) { return fmaf(q.g[i], p_of(op, k, i), lane); });
    FOR_MY_EXPERTS(i, q) {
        float s = k.s[i];
        q.dl[t * q.experts + i] = op.score_func == SY_ROUTER_SIGMOID
                                      ? (q.g[i] - mean) / k.n * (s * (1.0f - s))
                                      : p_of(op, k, i) * (q.g[i] - mean);
    }
}

/* --- z -------------------------------------------------------------------------------------------------- */

/* Adds the z term to the token's dl; returns lse. */
static SY_DEV float z_gradient(const struct sequence &q, int64_t t) {
    const struct sy_router_losses &op = *q.op;
    const float *l = op.logits + (q.first + t) * q.experts;
    float m, z = exponentials(q, l, &m), lse = m + sy_log_f32(z), inverse = 1.0f / z;
    float c = (float)(2.0 * (double)op.z / (double)op.seq_len) * lse;
    FOR_MY_EXPERTS(i, q) {
        float *dl = &q.dl[t * q.experts + i];
        *dl = *dl + c * (sy_exp_f32(l[i] - m) * inverse);
    }
    return lse;
}

/* Gradients of Z_TOKENS tokens at a time; then their blocks of 64 lse's, a thread each, and these in order by
 * thread 0, which has the loss. */
static SY_DEV float gradients(const struct sequence &q) {
    const struct sy_router_losses &op = *q.op;
    __shared__ float lse[Z_TOKENS], part[Z_TOKENS / 64];
    float z = 0.0f;
    for (int64_t at = 0; at < q.n; at += Z_TOKENS) {
        int64_t end = at + Z_TOKENS < q.n ? at + Z_TOKENS : q.n;
        for (int64_t t = at + q.warp; t < end; t += WARPS) {
            if (op.balance != 0.0f)
                balance_gradient(q, t);
            else
                FOR_MY_EXPERTS(i, q)
            q.dl[t * q.experts + i] = 0.0f;
            float v = op.z != 0.0f ? z_gradient(q, t) : 0.0f;
            if (q.lane == 0)
                lse[t - at] = v;
        }
        __syncthreads();
        if (threadIdx.x < Z_TOKENS / 64) {
            float chain = 0.0f;
            for (int64_t t = at + 64 * threadIdx.x; t < at + 64 * threadIdx.x + 64 && t < end; t++)
                chain = fmaf(lse[t - at], lse[t - at], chain);
            part[threadIdx.x] = chain;
        }
        __syncthreads();
        for (int64_t b = 0; threadIdx.x == 0 && at + 64 * b < end; b++)
            z = z + part[b];
        __syncthreads();
    }
    return z * (float)(1.0 / (double)q.n);
}

/* --- a sequence ----------------------------------------------------------------------------------------- */

static SY_DEV int64_t fixed_point(float loss) {
    return (int64_t)rint((double)(loss < 4096.0f ? loss : 4096.0f) * 0x1p24);
}

static SY_DEV void count_losses(const struct sy_router_losses &op, int ok, float balance, float z) {
    if (!ok || !sy_f32_finite(balance) || !sy_f32_finite(z)) {
        sy_add_i64(op.n_bad, 1);
        return;
    }
    sy_add_i64(&op.loss[0], fixed_point(balance));
    sy_add_i64(&op.loss[1], fixed_point(z));
}

SY_KERNEL(THREADS) losses_of_sequences(struct sy_router_losses op) {
    SY_SHARED(float, shared);
    struct sequence q = {.op = &op,
                         .first = (int64_t)blockIdx.x * op.seq_len,
                         .n = op.seq_len,
                         .experts = op.experts,
                         .f = shared,
                         .g = shared + op.experts,
                         .mean = shared + 2 * op.experts,
                         .lane = (int)(threadIdx.x % 32),
                         .warp = (int)(threadIdx.x / 32)};
    q.dl = op.dl + q.first * op.experts;
    int bad = 0;
    for (int64_t i = q.first * op.experts + threadIdx.x; i < (q.first + q.n) * op.experts; i += THREADS)
        bad |= !sy_f32_finite(op.logits[i]); /* EXP would hide some */
    bad = __syncthreads_or(bad);
    float balance = op.balance != 0.0f ? balance_loss(q) : 0.0f;
    __syncthreads();
    float z = gradients(q);
    if (threadIdx.x == 0 && op.loss)
        count_losses(op, !bad, balance, z);
}

extern "C" void sy_cuda_router_losses(const struct sy_exec *x, const struct sy_router_losses *op) {
    if (op->sequences > 0 && op->seq_len > 0)
        SY_LAUNCH(x, losses_of_sequences, (unsigned)op->sequences, THREADS, (size_t)(12 * op->experts), *op);
}
