/* The router's backward (NUMERICS 3): k over the chosen ascending, n the norm sum.
 *
 * g_k = dw_k scale; with norm t = sum of fma(g_k, s_k/n, t) and ds_k = (g_k - t)/n, else ds_k = g_k. sigmoid:
 * dl = ds (s (1 - s)). softmax: t' = sum of fma(ds_k, s_k, t'), dl_e = s_e (ds_e - t') for all e, ds +0 if
 * not chosen; topk_softmax: so for the chosen only. dlogits = BF(dl + aux). */
#include "ops/ref/protos.h"
#include "ops/ref/rows.h"

static void token(const struct sy_exec *x, const void *arg, int64_t t, float *scratch) {
    const struct sy_router_bwd *op = arg;
    int64_t e = op->experts, k = op->top_k;
    const float *s = op->s + t * e, *dw = op->dw + t * k;
    const int32_t *ids = op->ids + t * k;
    float *ds = scratch, *dl = scratch + e, n = 0.0f, sum = 0.0f;
    memset(ds, 0, (size_t)e * sizeof(float));
    memset(dl, 0, (size_t)e * sizeof(float));
    for (int64_t i = 0; i < k; i++)
        n += s[ids[i]];
    n += 1e-20f;
    for (int64_t i = 0; op->route_norm && i < k; i++)
        sum = fmaf(dw[i] * op->route_scale, s[ids[i]] / n, sum);
    for (int64_t i = 0; i < k; i++) {
        float g = dw[i] * op->route_scale;
        ds[ids[i]] = op->route_norm ? (g - sum) / n : g;
    }
    if (op->score_func == SY_ROUTER_SIGMOID) {
        for (int64_t i = 0; i < k; i++)
            dl[ids[i]] = ds[ids[i]] * (s[ids[i]] * (1.0f - s[ids[i]]));
    } else {
        float mean = 0.0f;
        for (int64_t i = 0; i < k; i++)
            mean = fmaf(ds[ids[i]], s[ids[i]], mean);
        if (op->score_func == SY_ROUTER_SOFTMAX)
            for (int64_t i = 0; i < e; i++)
                dl[i] = s[i] * (ds[i] - mean);
        else
            for (int64_t i = 0; i < k; i++)
                dl[ids[i]] = s[ids[i]] * (ds[ids[i]] - mean);
    }
    for (int64_t i = 0; op->aux && i < e; i++)
        dl[i] = dl[i] + op->aux[t * e + i];
    narrow(x, op->dlogits.dtype, e, dl, mat_row(op->dlogits, t));
}

void SY_FN(router_bwd)(const struct sy_exec *x, const struct sy_router_bwd *op) {
    run_rows(x, op, op->tokens, 2 * op->experts, token);
}
