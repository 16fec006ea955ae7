/* The router (docs/NUMERICS.md 3), a warp a token: scores, the choice, weights; and back. A warp has 3 words
 * of shared memory for each expert: its score s; what the choice compares, in the order of sy_order; and the
 * chosen ids, ascending. The best K are found one after another, as the best key below the last: keys are
 * distinct, so there are no ties, and 0 is an expert that cannot be chosen. */
#include "ops/cuda/values.cuh"

enum { WARPS_MOST = 8 };

struct token {
    int64_t t;
    int experts, k, lane;
    float *s;        /* [E] */
    uint32_t *order; /* [E] */
    int32_t *ids;    /* [E] */
};

#define FOR_MY_EXPERTS(i, w) for (int i = (w).lane; i < (w).experts; i += 32)
#define FOR_MY_CHOSEN(i, w) for (int i = (w).lane; i < (w).k; i += 32)

static SY_DEV struct token my_token(int64_t experts, int64_t k, float *shared) {
    int warp = threadIdx.x / 32;
    struct token w = {.t = (int64_t)blockIdx.x * (blockDim.x / 32) + warp,
                      .experts = (int)experts,
                      .k = (int)k,
                      .lane = (int)(threadIdx.x % 32),
                      .s = shared + 3 * experts * warp};
    w.order = (uint32_t *)(w.s + experts);
    w.ids = (int32_t *)(w.s + 2 * experts);
    return w;
}

/* Warps of a block: as many as its shared memory takes. */
static inline unsigned warps_for(int64_t experts) {
    int64_t most = 96 * 1024 / (12 * experts);
    return most < 1 ? 1u : most > WARPS_MOST ? (unsigned)WARPS_MOST : (unsigned)most;
}

/* --- scores --------------------------------------------------------------------------------------------- */

static SY_DEV void softmax_all(const struct token &w, const float *l) {
    float top = -INFINITY, low = 0.0f, high = 0.0f;
    FOR_MY_EXPERTS(i, w)
        top = fmaxf(top, l[i]);
    top = sy_max_of_warp(top);
    FOR_MY_EXPERTS(i, w) {
        float e = sy_exp_f32(l[i] - top);
        w.s[i] = e;
        if (i & 32)
            high += e;
        else
            low += e;
    }
    float inverse = 1.0f / sy_v64_of_warp(low, high);
    FOR_MY_EXPERTS(i, w)
        w.s[i] = w.s[i] * inverse;
}

/* Z by ascending id. */
static SY_DEV void softmax_chosen(const struct token &w, const float *l) {
    float top = -INFINITY, z = 0.0f;
    for (int i = 0; i < w.k; i++)
        top = fmaxf(top, l[w.ids[i]]);
    FOR_MY_EXPERTS(i, w)
        w.s[i] = 0.0f;
    for (int i = 0; i < w.k; i++)
        z += sy_exp_f32(l[w.ids[i]] - top);
    float inverse = 1.0f / z;
    __syncwarp();
    FOR_MY_CHOSEN(i, w)
        w.s[w.ids[i]] = sy_exp_f32(l[w.ids[i]] - top) * inverse;
}

/* --- the choice ----------------------------------------------------------------------------------------- */

/* The best key of order[first .. first + n - 1] below `last`, n at most the experts. */
static SY_DEV uint64_t best_below(const uint32_t *order, int n, int lane, uint64_t last) {
    uint64_t best = 0;
    for (int i = lane; i < n; i += 32) {
        uint64_t key = sy_order_at(order[i], (uint32_t)i);
        best = key < last && key > best ? key : best;
    }
    return sy_best_of_warp(best);
}

/* Group score: the sum of the two largest c, or the largest. */
static SY_DEV float group_score(const float *c, int64_t size, int top2_sum) {
    float first = -INFINITY, second = -INFINITY;
    for (int64_t i = 0; i < size; i++) {
        float v = c[i];
        if (v > first) {
            second = first;
            first = v;
        } else if (v > second) {
            second = v;
        }
    }
    return top2_sum ? first + second : first;
}

/* Groups that are not among the best: their experts cannot be chosen. `order` holds c as floats and becomes
 * words. */
static SY_DEV void limit(const struct sy_router_fwd &op, const struct token &w) {
    const float *c = (const float *)w.order;
    int64_t size = op.experts / op.groups;
    uint32_t *of_group = (uint32_t *)w.ids; /* free until something is chosen */
    for (int64_t g = w.lane; g < op.groups; g += 32)
        of_group[g] = sy_order(group_score(c + g * size, size, op.group_top2_sum));
    __syncwarp();
    uint64_t last = UINT64_MAX;
    for (int64_t j = 0; j < op.limited_groups; j++)
        last = best_below(of_group, (int)op.groups, w.lane, last);
    FOR_MY_EXPERTS(i, w) {
        int64_t g = i / size;
        w.order[i] = sy_order_at(of_group[g], (uint32_t)g) >= last ? sy_order(c[i]) : 0;
    }
    __syncwarp();
}

static SY_DEV void choose(const struct sy_router_fwd &op, const struct token &w, const float *l) {
    FOR_MY_EXPERTS(i, w) {
        float c = (op.score_func == SY_ROUTER_TOPK_SOFTMAX ? l[i] : w.s[i]) + (op.bias ? op.bias[i] : 0.0f);
        w.order[i] = op.groups > 0 ? sy_f32_bits(c) : sy_order(c);
    }
    __syncwarp();
    if (op.groups > 0)
        limit(op, w);
    uint64_t last = UINT64_MAX;
    for (int j = 0; j < w.k; j++) {
        last = best_below(w.order, w.experts, w.lane, last);
        if (w.lane == 0)
            w.ids[j] = (int32_t)sy_order_index(last);
    }
}

/* Ids ascending; those of `order` are not needed any more. */
static SY_DEV void sort_ids(const struct token &w) {
    int32_t *sorted = (int32_t *)w.order;
    __syncwarp();
    FOR_MY_CHOSEN(i, w) {
        int rank = 0;
        for (int j = 0; j < w.k; j++)
            rank += w.ids[j] < w.ids[i] || (w.ids[j] == w.ids[i] && j < i);
        sorted[rank] = w.ids[i];
    }
    __syncwarp();
    FOR_MY_CHOSEN(i, w)
        w.ids[i] = sorted[i];
    __syncwarp();
}

/* --- forward -------------------------------------------------------------------------------------------- */

static SY_DEV void route_token(const struct sy_router_fwd &op, const struct token &w, const float *l) {
    int sigmoid = op.score_func == SY_ROUTER_SIGMOID;
    int spared = sigmoid && op.chosen_only && (op.given || op.forced);
    if (op.score_func == SY_ROUTER_SOFTMAX)
        softmax_all(w, l);
    else
        FOR_MY_EXPERTS(i, w)
            w.s[i] = sigmoid && !spared ? sy_sig_f32(l[i]) : 0.0f;
    if (op.given)
        FOR_MY_CHOSEN(i, w)
            w.ids[i] = op.given[w.t * w.k + i];
    else if (op.forced)
        FOR_MY_CHOSEN(i, w)
            w.ids[i] = (int32_t)((w.t % op.seq_len * w.k + i) % w.experts);
    else
        choose(op, w, l);
    sort_ids(w);
    if (op.score_func == SY_ROUTER_TOPK_SOFTMAX)
        softmax_chosen(w, l);
    if (spared)
        FOR_MY_CHOSEN(i, w)
            w.s[w.ids[i]] = sy_sig_f32(l[w.ids[i]]);
    __syncwarp();
}

static SY_DEV void store_token(const struct sy_router_fwd &op, const struct token &w) {
    float n = 0.0f;
    for (int i = 0; i < w.k; i++)
        n += w.s[w.ids[i]];
    n += 1e-20f;
    FOR_MY_EXPERTS(i, w)
        op.s[w.t * w.experts + i] = w.s[i];
    FOR_MY_CHOSEN(i, w) {
        float s = w.s[w.ids[i]];
        op.ids[w.t * w.k + i] = w.ids[i];
        op.w[w.t * w.k + i] = (op.route_norm ? s / n : s) * op.route_scale;
    }
}

/* A token with a NaN: finite, in range and defined, so that nothing later is not. */
static SY_DEV void report_token(const struct sy_router_fwd &op, const struct token &w) {
    FOR_MY_EXPERTS(i, w)
        op.s[w.t * w.experts + i] = 0.0f;
    FOR_MY_CHOSEN(i, w) {
        op.ids[w.t * w.k + i] = (int32_t)i;
        op.w[w.t * w.k + i] = 0.0f;
    }
    if (w.lane == 0)
        sy_lower_i64(op.bad_token, sy_token_key(op.place, w.t, op.seq_len, op.layer, op.layers));
}

SY_KERNEL(32 * WARPS_MOST) route_tokens(struct sy_router_fwd op) {
    SY_SHARED(float, shared);
    struct token w = my_token(op.experts, op.top_k, shared);
    if (w.t >= op.tokens)
        return;
    const float *l = op.logits + w.t * op.experts;
    int nan = 0;
    FOR_MY_EXPERTS(i, w)
        nan |= l[i] != l[i];
    if (__any_sync(~0u, nan)) {
        report_token(op, w);
        return;
    }
    route_token(op, w, l);
    store_token(op, w);
}

extern "C" void sy_cuda_router_fwd(const struct sy_exec *x, const struct sy_router_fwd *op) {
    unsigned warps = warps_for(op->experts);
    if (op->tokens > 0)
        SY_LAUNCH(x, route_tokens, sy_cuda_blocks(op->tokens, warps), 32 * warps,
                  (size_t)(12 * op->experts * warps), *op);
}

/* --- back: dl of the weights, k over the chosen ascending, n the norm sum ------------------------------- */

/* ds of the chosen, into `order` as floats; +0 elsewhere. */
static SY_DEV void back_to_scores(const struct sy_router_bwd &op, const struct token &w, float *ds) {
    const float *dw = op.dw + w.t * w.k;
    float n = 0.0f, sum = 0.0f;
    FOR_MY_EXPERTS(i, w)
        ds[i] = 0.0f;
    for (int i = 0; i < w.k; i++)
        n += w.s[w.ids[i]];
    n += 1e-20f;
    for (int i = 0; op.route_norm && i < w.k; i++)
        sum = fmaf(dw[i] * op.route_scale, w.s[w.ids[i]] / n, sum);
    __syncwarp();
    FOR_MY_CHOSEN(i, w) {
        float g = dw[i] * op.route_scale;
        ds[w.ids[i]] = op.route_norm ? (g - sum) / n : g;
    }
    __syncwarp();
}

SY_KERNEL(32 * WARPS_MOST) route_tokens_back(struct sy_router_bwd op) {
    SY_SHARED(float, shared);
    struct token w = my_token(op.experts, op.top_k, shared);
    float *ds = (float *)w.order, mean = 0.0f;
    if (w.t >= op.tokens)
        return;
    FOR_MY_EXPERTS(i, w)
        w.s[i] = op.s[w.t * w.experts + i];
    FOR_MY_CHOSEN(i, w)
        w.ids[i] = op.ids[w.t * w.k + i];
    __syncwarp();
    back_to_scores(op, w, ds);
    for (int i = 0; op.score_func != SY_ROUTER_SIGMOID && i < w.k; i++)
        mean = fmaf(ds[w.ids[i]], w.s[w.ids[i]], mean);
    __syncwarp();
    if (op.score_func == SY_ROUTER_SOFTMAX)
        FOR_MY_EXPERTS(i, w)
            ds[i] = w.s[i] * (ds[i] - mean);
    else /* +0 stays where nothing was chosen */
        FOR_MY_CHOSEN(i, w) {
            float s = w.s[w.ids[i]], d = ds[w.ids[i]];
            ds[w.ids[i]] = op.score_func == SY_ROUTER_SIGMOID ? d * (s * (1.0f - s)) : s * (d - mean);
        }
    __syncwarp();
    void *out = sy_row_out(op.dlogits, w.t);
    FOR_MY_EXPERTS(i, w)
        sy_store1(out, op.dlogits.dtype, i, op.aux ? ds[i] + op.aux[w.t * w.experts + i] : ds[i]);
}

extern "C" void sy_cuda_router_bwd(const struct sy_exec *x, const struct sy_router_bwd *op) {
    unsigned warps = warps_for(op->experts);
    if (op->tokens > 0)
        SY_LAUNCH(x, route_tokens_back, sy_cuda_blocks(op->tokens, warps), 32 * warps,
                  (size_t)(12 * op->experts * warps), *op);
}
