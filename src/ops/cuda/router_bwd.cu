/* The router back (docs/NUMERICS.md 3), a warp a token: dl of the weights, k over the chosen ascending, n the
 * norm sum. */
#include "ops/cuda/values.cuh"

enum { WARPS_MOST = 8 };

struct token {
    int64_t t;
    int experts, k, lane;
    float *s, *ds; /* [E] shared */
    int32_t *ids;  /* [E] shared */
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
    w.ds = w.s + experts;
    w.ids = (int32_t *)(w.s + 2 * experts);
    return w;
}

/* Warps of a block: as many as its shared memory takes. */
static inline unsigned warps_for(int64_t experts) {
    int64_t most = 96 * 1024 / (12 * experts);
    return most < 1 ? 1u : most > WARPS_MOST ? (unsigned)WARPS_MOST : (unsigned)most;
}

/* ds of the chosen; +0 elsewhere. */
static SY_DEV void back_to_scores(const struct sy_router_bwd &op, const struct token &w) {
    const float *dw = op.dw + w.t * w.k;
    float n = 0.0f, sum = 0.0f;
    FOR_MY_EXPERTS(i, w)
        w.ds[i] = 0.0f;
    for (int i = 0; i < w.k; i++)
        n += w.s[w.ids[i]];
    n += 1e-20f;
    for (int i = 0; op.route_norm && i < w.k; i++)
        sum = fmaf(dw[i] * op.route_scale, w.s[w.ids[i]] / n, sum);
    __syncwarp();
    FOR_MY_CHOSEN(i, w) {
        float g = dw[i] * op.route_scale;
        w.ds[w.ids[i]] = op.route_norm ? (g - sum) / n : g;
    }
    __syncwarp();
}

SY_KERNEL(32 * WARPS_MOST) route_tokens_back(struct sy_router_bwd op) {
    SY_SHARED(float, shared);
    struct token w = my_token(op.experts, op.top_k, shared);
    float mean = 0.0f;
    if (w.t >= op.tokens)
        return;
    FOR_MY_EXPERTS(i, w)
        w.s[i] = op.s[w.t * w.experts + i];
    FOR_MY_CHOSEN(i, w)
        w.ids[i] = op.ids[w.t * w.k + i];
    __syncwarp();
    back_to_scores(op, w);
    for (int i = 0; op.score_func != SY_ROUTER_SIGMOID && i < w.k; i++)
        mean = fmaf(w.ds[w.ids[i]], w.s[w.ids[i]], mean);
    __syncwarp();
    if (op.score_func == SY_ROUTER_SOFTMAX)
        FOR_MY_EXPERTS(i, w)
            w.ds[i] = w.s[i] * (w.ds[i] - mean);
    else /* +0 stays where nothing was chosen */
        FOR_MY_CHOSEN(i, w) {
            float s = w.s[w.ids[i]], d = w.ds[w.ids[i]];
            w.ds[w.ids[i]] = op.score_func == SY_ROUTER_SIGMOID ? d * (s * (1.0f - s)) : s * (d - mean);
        }
    __syncwarp();
    void *out = sy_row_out(op.dlogits, w.t);
    FOR_MY_EXPERTS(i, w)
        sy_store1(out, op.dlogits.dtype, i, op.aux ? w.ds[i] + op.aux[w.t * w.experts + i] : w.ds[i]);
}

extern "C" void sy_cuda_router_bwd(const struct sy_exec *x, const struct sy_router_bwd *op) {
    unsigned warps = warps_for(op->experts);
    if (op->tokens > 0)
        SY_LAUNCH(x, route_tokens_back, sy_cuda_blocks(op->tokens, warps), 32 * warps,
                  (size_t)(12 * op->experts * warps), *op);
}
