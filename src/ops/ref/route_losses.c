/* The router's auxiliary losses and their gradients at the logits, per sequence of S tokens (NUMERICS 3,
 * "Router losses").
 *
 * Balance (DeepSeek-V3, arXiv:2412.19437, eq. 17-20): f_e = count_e E / (K S), P_e the mean of the normalised
 * scores p, loss = sum of f_e P_e; f is an integer count and passes no gradient. z (ST-MoE, arXiv:2202.08906,
 * eq. 5): the mean of lse^2. Counts and sums never leave their sequence, so neither threads nor the cut of
 * the batch reach a bit. A sequence is one thread's: first the sums, then dl token by token, the balance term
 * before the z term. */
#include "ops/ref/protos.h"
#include "ops/ref/rows.h"

enum { MAX_THREADS = 1024 };

struct work {
    const struct sy_exec *x;
    const struct sy_router_losses *op;
    struct sums {
        int64_t balance, z, bad;
    } sums[MAX_THREADS];
};

/* e = EXP(l - m); returns Z = V64(e). */
static float exponentials(int64_t n, const float *l, float *e, float *top) {
    *top = max_of(n, l);
    for (int64_t i = 0; i < n; i++)
        e[i] = sy_exp_f32(l[i] - *top);
    return v64(n, e);
}

/* p of one token; returns the divisor n (sigmoid), else 1. */
static float normalised(const struct sy_router_losses *op, int64_t t, float *p) {
    int64_t e = op->experts;
    const float *s = op->s + t * e;
    if (op->score_func == SY_ROUTER_SIGMOID) {
        float n = v64(e, s);
        for (int64_t i = 0; i < e; i++)
            p[i] = s[i] / n;
        return n;
    }
    if (op->score_func == SY_ROUTER_SOFTMAX) {
        memcpy(p, s, (size_t)e * sizeof *p);
    } else {
        float top, inverse = 1.0f / exponentials(e, op->logits + t * e, p, &top);
        for (int64_t i = 0; i < e; i++)
            p[i] = p[i] * inverse;
    }
    return 1.0f;
}

struct rows { /* [E] each, in scratch */
    float *f, *g, *mean, *chain, *p;
};

/* f becomes the experts' shares of the routes, g their gradients; returns the loss. */
static float balance_loss(const struct sy_router_losses *op, int64_t first, const struct rows *u) {
    int64_t e = op->experts, k = op->top_k, n = op->seq_len;
    float *f = u->f, *g = u->g, *mean = u->mean, *chain = u->chain, *p = u->p;
    int32_t *count = (int32_t *)g; /* until g is written */
    memset(count, 0, (size_t)e * sizeof *count);
    for (int64_t i = first * k; i < (first + n) * k; i++)
        count[op->ids[i]]++;
    for (int64_t i = 0; i < e; i++)
        f[i] = (float)((double)(count[i] * e) / (double)(k * n));
    memset(mean, 0, (size_t)e * sizeof *mean);
    for (int64_t block = 0; block < n; block += 64) {
        memset(chain, 0, (size_t)e * sizeof *chain);
        for (int64_t t = block; t < block + 64 && t < n; t++) {
            normalised(op, first + t, p);
            for (int64_t i = 0; i < e; i++)
                chain[i] = chain[i] + p[i];
        }
        for (int64_t i = 0; i < e; i++)
            mean[i] = mean[i] + chain[i];
    }
    for (int64_t i = 0; i < e; i++)
        mean[i] = mean[i] * (float)(1.0 / (double)n);
    for (int64_t i = 0; i < e; i++)
        g[i] = (float)((double)op->balance * (double)f[i] / (double)n);
    return v64_dot(e, f, mean);
}

static void balance_gradient(const struct sy_router_losses *op, int64_t t, const float *g, float *p) {
    int64_t e = op->experts;
    const float *s = op->s + t * e;
    float *dl = op->dl + t * e, n = normalised(op, t, p), mean = v64_dot(e, g, p);
    if (op->score_func == SY_ROUTER_SIGMOID)
        for (int64_t i = 0; i < e; i++)
            dl[i] = (g[i] - mean) / n * (s[i] * (1.0f - s[i]));
    else
        for (int64_t i = 0; i < e; i++)
            dl[i] = p[i] * (g[i] - mean);
}

/* Adds the z term to the token's dl; returns lse. */
static float z_gradient(const struct sy_router_losses *op, int64_t t, float *p) {
    int64_t e = op->experts;
    float *dl = op->dl + t * e, top, z = exponentials(e, op->logits + t * e, p, &top),
          lse = top + sy_log_f32(z);
    float c = (float)(2.0 * (double)op->z / (double)op->seq_len) * lse, inverse = 1.0f / z;
    for (int64_t i = 0; i < e; i++)
        dl[i] = dl[i] + c * (p[i] * inverse);
    return lse;
}

static int64_t fixed(float loss) { return (int64_t)rint((double)(loss < 4096.0f ? loss : 4096.0f) * 0x1p24); }

static void one_sequence(const struct sy_router_losses *op, int64_t sequence, float *scratch,
                         struct sums *sums) {
    int64_t e = op->experts, n = op->seq_len, first = sequence * n;
    struct rows u = {scratch, scratch + e, scratch + 2 * e, scratch + 3 * e, scratch + 4 * e};
    float balance = 0.0f, z = 0.0f, part = 0.0f;
    int ok = 1;
    for (int64_t i = first * e; i < (first + n) * e; i++) /* EXP would hide some */
        ok &= sy_f32_finite(op->logits[i]);
    if (op->balance != 0.0f)
        balance = balance_loss(op, first, &u);
    for (int64_t t = 0; t < n; t++) {
        if (op->balance != 0.0f)
            balance_gradient(op, first + t, u.g, u.p);
        else
            memset(op->dl + (first + t) * e, 0, (size_t)e * sizeof(float));
        if (op->z == 0.0f)
            continue;
        float lse = z_gradient(op, first + t, u.p);
        part = fmaf(lse, lse, t % 64 == 0 ? 0.0f : part);
        z = t % 64 == 63 || t == n - 1 ? z + part : z;
    }
    z = z * (float)(1.0 / (double)n);
    if (!ok || !sy_f32_finite(balance) || !sy_f32_finite(z)) {
        sums->bad++;
        return;
    }
    sums->balance += fixed(balance);
    sums->z += fixed(z);
}

static void run(void *arg, int thread, int n_threads) {
    struct work *w = arg;
    struct sums sums = {0, 0, 0};
    int64_t lo, hi;
    sy_range(w->op->sequences, 1, thread, n_threads, &lo, &hi);
    for (int64_t i = lo; i < hi; i++)
        one_sequence(w->op, i, sy_exec_scratch(w->x, thread), &sums);
    w->sums[thread] = sums;
}

void SY_FN(router_losses)(const struct sy_exec *x, const struct sy_router_losses *op) {
    struct work w = {.x = x, .op = op};
    struct sy_pool *pool = pool_for(x, op->sequences * op->seq_len * op->experts);
    assert(5 * (size_t)op->experts * sizeof(float) <= x->scratch_bytes && sy_pool_size(pool) <= MAX_THREADS);
    sy_pool_run(pool, run, &w);
    for (int i = 0; op->loss && i < sy_pool_size(pool); i++) {
        op->loss[0] += w.sums[i].balance;
        op->loss[1] += w.sums[i].z;
        *op->n_bad += w.sums[i].bad;
    }
}
