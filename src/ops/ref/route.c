/* The router (NUMERICS 3, "Router"): scores, group-limited deterministic top-k, weights. Backward:
 * route_bwd.c.
 *
 * sigmoid: s = SIG(l). softmax: e = EXP(l - max), s = e (1/V64(e)). topk_softmax: choice on logits + bias, s
 * over the chosen of the unbiased logits, Z added by ascending id. Weights: s of the chosen; with route_norm
 * w = s / n, n = the chosen s added by ascending id, + 1e-20; then times route_scale. */
#include "ops/ref/protos.h"
#include "ops/ref/rows.h"
#include "ops/ref/tokens.h"
#include "ops/ref/topk.h"

enum { MAX_THREADS = 1024 };

struct work {
    const struct sy_exec *x;
    const struct sy_router_fwd *op;
    int64_t bad[MAX_THREADS];
};

static void softmax_all(int64_t n, const float *l, float *s) {
    float top = max_of(n, l);
    for (int64_t i = 0; i < n; i++)
        s[i] = sy_exp_f32(l[i] - top);
    float inverse = 1.0f / v64(n, s);
    for (int64_t i = 0; i < n; i++)
        s[i] = s[i] * inverse;
}

static void softmax_chosen(int64_t experts, int64_t k, const int32_t *ids, const float *l, float *s) {
    float top = -INFINITY, z = 0.0f;
    for (int64_t i = 0; i < k; i++)
        top = l[ids[i]] > top ? l[ids[i]] : top;
    memset(s, 0, (size_t)experts * sizeof(float));
    for (int64_t i = 0; i < k; i++) {
        s[ids[i]] = sy_exp_f32(l[ids[i]] - top);
        z += s[ids[i]];
    }
    float inverse = 1.0f / z;
    for (int64_t i = 0; i < k; i++)
        s[ids[i]] = s[ids[i]] * inverse;
}

/* Group score: the sum of the two largest c, or the largest. */
static float group_score(int64_t size, const float *member, int top2_sum) {
    float first = -INFINITY, second = -INFINITY;
    for (int64_t i = 0; i < size; i++) {
        float v = member[i];
        if (v > first) {
            second = first;
            first = v;
        } else if (v > second) {
            second = v;
        }
    }
    return top2_sum ? first + second : first;
}

/* The choice among the experts of the best groups alone: their c moves to the front of c, ids ascending, and
 * back comes the id of each place that was chosen. So no expert of another group is chosen, whatever the
 * values are. */
static void top_k_limited(const struct sy_router_fwd *op, float *c, float *score, int32_t *kept,
                          int32_t *ids) {
    int64_t size = op->experts / op->groups;
    for (int64_t g = 0; g < op->groups; g++)
        score[g] = group_score(size, c + g * size, op->group_top2_sum);
    top_k(op->groups, op->limited_groups, score, kept);
    sort_ids(op->limited_groups, kept);
    for (int64_t j = 0; j < op->limited_groups; j++)
        memmove(c + j * size, c + kept[j] * size, (size_t)size * sizeof *c);
    top_k(op->limited_groups * size, op->top_k, c, ids);
    for (int64_t i = 0; i < op->top_k; i++)
        ids[i] = (int32_t)(kept[ids[i] / size] * size + ids[i] % size);
}

static void weights(const struct sy_router_fwd *op, const int32_t *ids, const float *s, float *w) {
    float n = 0.0f;
    for (int64_t i = 0; i < op->top_k; i++)
        n += s[ids[i]];
    n += 1e-20f;
    for (int64_t i = 0; i < op->top_k; i++)
        w[i] = (op->route_norm ? s[ids[i]] / n : s[ids[i]]) * op->route_scale;
}

static void token(const struct sy_router_fwd *op, int64_t t, float *scratch) {
    int64_t e = op->experts, k = op->top_k;
    const float *l = op->logits + t * e;
    float *s = op->s + t * e, *c = scratch, *score = scratch + e;
    int32_t *ids = op->ids + t * k, *kept = (int32_t *)(scratch + 2 * e);
    int of_chosen = op->score_func == SY_ROUTER_TOPK_SOFTMAX, sigmoid = op->score_func == SY_ROUTER_SIGMOID;
    int spared = sigmoid && op->chosen_only && (op->given || op->forced);
    if (sigmoid && !spared)
        for (int64_t i = 0; i < e; i++)
            s[i] = sy_sig_f32(l[i]);
    else if (op->score_func == SY_ROUTER_SOFTMAX)
        softmax_all(e, l, s);
    if (op->given) {
        memcpy(ids, op->given + t * k, (size_t)k * sizeof *ids);
    } else if (op->forced) {
        for (int64_t i = 0; i < k; i++)
            ids[i] = (int32_t)((t % op->seq_len * k + i) % e);
    } else {
        for (int64_t i = 0; i < e; i++)
            c[i] = (of_chosen ? l[i] : s[i]) + (op->bias ? op->bias[i] : 0.0f);
        if (op->groups > 0)
            top_k_limited(op, c, score, kept, ids);
        else
            top_k(e, k, c, ids);
    }
    sort_ids(k, ids);
    if (of_chosen)
        softmax_chosen(e, k, ids, l, s);
    if (spared) {
        memset(s, 0, (size_t)e * sizeof *s);
        for (int64_t i = 0; i < k; i++)
            s[ids[i]] = sy_sig_f32(l[ids[i]]);
    }
    weights(op, ids, s, op->w + t * k);
}

/* A token with a NaN: finite, in range and defined, so that nothing later is not. */
static void reported_token(const struct sy_router_fwd *op, int64_t t) {
    memset(op->s + t * op->experts, 0, (size_t)op->experts * sizeof(float));
    for (int64_t i = 0; i < op->top_k; i++) {
        op->ids[t * op->top_k + i] = (int32_t)i;
        op->w[t * op->top_k + i] = 0.0f;
    }
}

static void run(void *arg, int thread, int n_threads) {
    struct work *w = arg;
    const struct sy_router_fwd *op = w->op;
    int64_t lo, hi;
    sy_range(op->tokens, 1, thread, n_threads, &lo, &hi);
    w->bad[thread] = SY_NO_TOKEN;
    for (int64_t t = lo; t < hi; t++) {
        int nan = 0;
        for (int64_t i = 0; i < op->experts; i++)
            nan |= op->logits[t * op->experts + i] != op->logits[t * op->experts + i];
        if (!nan) {
            token(op, t, sy_exec_scratch(w->x, thread));
            continue;
        }
        lowers(token_key(op->place, t, op->seq_len, op->layer, op->layers), &w->bad[thread]);
        reported_token(op, t);
    }
}

void SY_FN(router_fwd)(const struct sy_exec *x, const struct sy_router_fwd *op) {
    struct work w = {.x = x, .op = op};
    assert(op->groups == 0 ||
           (op->experts % op->groups == 0 && op->top_k <= op->experts / op->groups * op->limited_groups));
    assert(3 * (size_t)op->experts * sizeof(float) <= x->scratch_bytes &&
           sy_pool_size(x->pool) <= MAX_THREADS);
    sy_pool_run(x->pool, run, &w);
    for (int i = 0; i < sy_pool_size(x->pool); i++)
        if (w.bad[i] != SY_NO_TOKEN)
            lowers(w.bad[i], op->bad_token);
}
