/* The router forward (docs/NUMERICS.md 3), a warp a token: scores, the choice, weights. A lane's j-th expert
 * is lane + 32 j. What a lane knows of its own is in registers where there are up to 32 `per` experts, else
 * (per 0) in shared memory. The best K are taken one after another, and then gathered by ascending id. */
#include "ops/cuda/values.cuh"

enum { WARPS_MOST = 8 };

/* Keys that are no value's (sy_order). */
enum { NEVER = 0, TAKEN = 1 };

struct chosen {
    float s;
    int32_t id;
};

struct token {
    int64_t t;
    int experts, k, lane;
    float *l, *s;          /* logits and scores of this lane's experts; beyond the last: -inf, any */
    uint32_t *key;         /* what the choice compares; beyond the last: NEVER */
    struct chosen *chosen; /* [K] shared, by ascending id */
    uint32_t *all;         /* [E] shared, with groups: all keys; behind it those of the groups */
};

/* How many of n a lane has, at most; where the j-th is among what the lane knows. */
template <int per> SY_DEV int each_of(int n) { return per ? per : (n + 31) / 32; }
template <int per> SY_DEV int place(int j) { return per ? j : 32 * j; }

/* j, and i = lane + 32 j, which may be beyond the n. */
#define FOR_MINE(j, i, lane, n) \
    _Pragma("unroll") for (int j = 0, i = (lane); j < each_of<per>(n); j++, i += 32)
#define FOR_MY_CHOSEN(i, w) _Pragma("unroll 1") for (int i = (w).lane; i < (w).k; i += 32)

SY_BOTH int64_t padded(int64_t n) { return (n + 31) / 32 * 32; }

/* --- scores --------------------------------------------------------------------------------------------- */

template <int per> static SY_DEV void softmax_all(const struct token &w) {
    float top = -INFINITY, low = 0.0f, high = 0.0f;
    FOR_MINE(j, i, w.lane, w.experts)
        top = fmaxf(top, w.l[place<per>(j)]);
    top = sy_max_of_warp(top);
    FOR_MINE(j, i, w.lane, w.experts) { /* beyond the last: +0 */
        float e = sy_exp_f32(w.l[place<per>(j)] - top);
        w.s[place<per>(j)] = e;
        if (j & 1)
            high += e;
        else
            low += e;
    }
    float inverse = 1.0f / sy_v64_of_warp(low, high);
    FOR_MINE(j, i, w.lane, w.experts)
        w.s[place<per>(j)] *= inverse;
}

/* Logits of the chosen become their scores; Z by ascending id. */
static SY_DEV void softmax_chosen(const struct token &w) {
    float top = -INFINITY, z = 0.0f;
    for (int i = 0; i < w.k; i++)
        top = fmaxf(top, w.chosen[i].s);
    __syncwarp();
    FOR_MY_CHOSEN(i, w)
        w.chosen[i].s = sy_exp_f32(w.chosen[i].s - top);
    __syncwarp();
    for (int i = 0; i < w.k; i++)
        z += w.chosen[i].s;
    __syncwarp();
    float inverse = 1.0f / z;
    FOR_MY_CHOSEN(i, w)
        w.chosen[i].s *= inverse;
}

/* --- the choice ----------------------------------------------------------------------------------------- */

template <int per> static SY_DEV void take(uint32_t *key, int n, int lane, int id) {
    FOR_MINE(j, i, lane, n)
        if (i == id)
            key[place<per>(j)] = TAKEN;
}

/* Of the n keys of a warp the k best, one after another; of equal ones the first. */
template <int per> static SY_DEV void take_best(uint32_t *key, int n, int lane, int k) {
    for (; k > 0; k--) {
        uint32_t best = NEVER, first = UINT32_MAX;
        FOR_MINE(j, i, lane, n)
            best = key[place<per>(j)] > best ? key[place<per>(j)] : best;
        best = __reduce_max_sync(~0u, best);
#pragma unroll
        for (int j = each_of<per>(n) - 1; j >= 0; j--)
            first = key[place<per>(j)] == best ? (uint32_t)(lane + 32 * j) : first;
        take<per>(key, n, lane, (int)__reduce_min_sync(~0u, first));
    }
}

/* Group score: the sum of the two largest of n, or the largest; as a key. */
static SY_DEV uint32_t group_score(const uint32_t *key, int n, int top2_sum) {
    uint32_t first = sy_order(-INFINITY), second = first;
    for (int i = 0; i < n; i++) {
        uint32_t less = key[i] < first ? key[i] : first;
        first = key[i] > first ? key[i] : first;
        second = less > second ? less : second;
    }
    return top2_sum ? sy_order(sy_of_order(first) + sy_of_order(second)) : first;
}

/* Experts of groups that are not among the best cannot be chosen. */
template <int per> static SY_DEV void limit(const struct sy_router_fwd &op, const struct token &w) {
    int n = (int)op.groups, size = w.experts / n;
    uint32_t *group = w.all + padded(w.experts);
    FOR_MINE(j, i, w.lane, w.experts)
        if (i < w.experts)
            w.all[i] = w.key[place<per>(j)];
    __syncwarp();
    for (int g = w.lane; g < padded(n); g += 32)
        group[g] = g < n ? group_score(w.all + g * size, size, op.group_top2_sum) : (uint32_t)NEVER;
    take_best<0>(group + w.lane, n, w.lane, (int)op.limited_groups);
    __syncwarp();
    FOR_MINE(j, i, w.lane, w.experts)
        if (group[(uint32_t)(i < w.experts ? i : 0) / (uint32_t)size] != TAKEN)
            w.key[place<per>(j)] = NEVER;
}

template <int per> static SY_DEV void choose(const struct sy_router_fwd &op, const struct token &w) {
    int of_chosen = op.score_func == SY_ROUTER_TOPK_SOFTMAX;
    FOR_MINE(j, i, w.lane, w.experts) {
        float c = of_chosen ? w.l[place<per>(j)] : w.s[place<per>(j)];
        c += op.bias && i < w.experts ? op.bias[i] : 0.0f;
        w.key[place<per>(j)] = i < w.experts ? sy_order(c) : (uint32_t)NEVER;
    }
    if (op.groups > 0)
        limit<per>(op, w);
    take_best<per>(w.key, w.experts, w.lane, w.k);
}

/* Forced balance: expert of route k = (first + k) mod E. */
template <int per> static SY_DEV void force(const struct sy_router_fwd &op, const struct token &w) {
    int first = (int)(w.t % op.seq_len * w.k % w.experts);
    FOR_MINE(j, i, w.lane, w.experts)
        if (i < w.experts && (i < first ? i + w.experts : i) - first < w.k)
            w.key[place<per>(j)] = TAKEN;
}

/* The taken by ascending id, with their scores, or logits. */
template <int per> static SY_DEV void gather(const struct token &w, int logits) {
    int before = 0;
    FOR_MINE(j, i, w.lane, w.experts) {
        int taken = w.key[place<per>(j)] == TAKEN;
        uint32_t all = __ballot_sync(~0u, taken);
        float s = logits ? w.l[place<per>(j)] : w.s[place<per>(j)];
        if (taken)
            w.chosen[before + __popc(all & ((1u << w.lane) - 1u))] = (struct chosen){s, (int32_t)i};
        before += __popc(all);
    }
    __syncwarp();
}

/* --- a token -------------------------------------------------------------------------------------------- */

/* Whether a logit is a NaN. */
template <int per> static SY_DEV int load_token(const struct sy_router_fwd &op, const struct token &w) {
    int nan = 0;
    FOR_MINE(j, i, w.lane, w.experts) {
        float l = i < w.experts ? op.logits[w.t * w.experts + i] : -INFINITY;
        nan |= l != l;
        w.l[place<per>(j)] = l;
        w.s[place<per>(j)] = 0.0f;
        w.key[place<per>(j)] = NEVER;
    }
    return __any_sync(~0u, nan);
}

template <int per> static SY_DEV void route_token(const struct sy_router_fwd &op, const struct token &w) {
    int sigmoid = op.score_func == SY_ROUTER_SIGMOID, of_chosen = op.score_func == SY_ROUTER_TOPK_SOFTMAX;
    int spared = sigmoid && op.chosen_only && (op.given || op.forced);
    if (op.score_func == SY_ROUTER_SOFTMAX)
        softmax_all<per>(w);
    if (sigmoid && !spared)
        FOR_MINE(j, i, w.lane, w.experts)
            w.s[place<per>(j)] = sy_sig_f32(w.l[place<per>(j)]);
    if (op.given)
        for (int i = 0; i < w.k; i++)
            take<per>(w.key, w.experts, w.lane, op.given[w.t * w.k + i]);
    else if (op.forced)
        force<per>(op, w);
    else
        choose<per>(op, w);
    gather<per>(w, spared || of_chosen);
    if (of_chosen)
        softmax_chosen(w);
    if (spared)
        FOR_MY_CHOSEN(i, w)
            w.chosen[i].s = sy_sig_f32(w.chosen[i].s);
    float *s = op.s + w.t * w.experts;
    FOR_MINE(j, i, w.lane, w.experts)
        if (i < w.experts)
            s[i] = w.s[place<per>(j)];
    __syncwarp();
    if (spared || of_chosen)
        FOR_MY_CHOSEN(i, w)
            s[w.chosen[i].id] = w.chosen[i].s;
}

static SY_DEV void store_routes(const struct sy_router_fwd &op, const struct token &w) {
    float n = 0.0f;
    for (int i = 0; i < w.k; i++)
        n += w.chosen[i].s;
    n += 1e-20f;
    FOR_MY_CHOSEN(i, w) {
        float s = w.chosen[i].s;
        op.ids[w.t * w.k + i] = w.chosen[i].id;
        op.w[w.t * w.k + i] = (op.route_norm ? s / n : s) * op.route_scale;
    }
}

/* A token with a NaN: finite, in range and defined, so that nothing later is not. */
static SY_DEV void report_token(const struct sy_router_fwd &op, const struct token &w) {
    for (int i = w.lane; i < w.experts; i += 32)
        op.s[w.t * w.experts + i] = 0.0f;
    FOR_MY_CHOSEN(i, w) {
        op.ids[w.t * w.k + i] = (int32_t)i;
        op.w[w.t * w.k + i] = 0.0f;
    }
    if (w.lane == 0)
        sy_lower_i64(op.bad_token, sy_token_key(op.place, w.t, op.seq_len, op.layer, op.layers));
}

/* words: of shared memory, of a warp. */
template <int per> SY_KERNEL(32 * WARPS_MOST) route_tokens(struct sy_router_fwd op, int words) {
    SY_SHARED(float, shared);
    float l[per ? per : 1], s[per ? per : 1];
    uint32_t key[per ? per : 1];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, k = (int)op.top_k, all = (int)padded(op.experts);
    float *mine = shared + warp * words, *known = mine + words - 3 * all + lane;
    struct token w = {.t = (int64_t)blockIdx.x * (blockDim.x / 32) + warp,
                      .experts = (int)op.experts,
                      .k = k,
                      .lane = lane,
                      .l = per ? l : known,
                      .s = per ? s : known + all,
                      .key = per ? key : (uint32_t *)(known + 2 * all),
                      .chosen = (struct chosen *)mine,
                      .all = (uint32_t *)(mine + 2 * k)};
    if (w.t >= op.tokens)
        return;
    if (load_token<per>(op, w)) {
        report_token(op, w);
        return;
    }
    route_token<per>(op, w);
    store_routes(op, w);
}

/* As many warps in a block as its shared memory takes. */
template <int per> static void launch(const struct sy_exec *x, const struct sy_router_fwd *op) {
    int64_t all = padded(op->experts), limited = op->groups > 0 ? all + padded(op->groups) : 0;
    int64_t words = 2 * op->top_k + limited + (per ? 0 : 3 * all), most = 24 * 1024 / words;
    unsigned warps = most < 1 ? 1u : most > WARPS_MOST ? (unsigned)WARPS_MOST : (unsigned)most;
    SY_LAUNCH(x, route_tokens<per>, sy_cuda_blocks(op->tokens, warps), 32 * warps,
              (size_t)words * sizeof(float) * warps, *op, (int)words);
}

extern "C" void sy_cuda_router_fwd(const struct sy_exec *x, const struct sy_router_fwd *op) {
    if (op->tokens > 0)
        (op->experts <= 64    ? launch<2>
         : op->experts <= 128 ? launch<4>
         : op->experts <= 256 ? launch<8>
         : op->experts <= 512 ? launch<16>
                              : launch<0>)(x, op);
}
