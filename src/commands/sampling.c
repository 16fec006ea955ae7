/* Sampling: see sampling.h. */
#include "commands/sampling.h"

#include <math.h>
#include <stdlib.h>

#include "base/fmath.h"
#include "base/rng.h"

static double weight(double l, double top) { return sy_exp2_f64((l - top) * 0x1.71547652b82fep+0); }

static int by_weight(const void *a, const void *b) {
    const struct sy_candidate *x = a, *y = b;
    if (x->p != y->p)
        return x->p < y->p ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

/* exp((l - top) / T), sorted. */
static void weigh(double temperature, int64_t n, struct sy_candidate *c) {
    double top = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        c[i].p /= temperature;
        top = c[i].p > top ? c[i].p : top;
    }
    for (int64_t i = 0; i < n; i++)
        c[i].p = weight(c[i].p, top);
    qsort(c, (size_t)n, sizeof *c, by_weight);
}

/* The first of the order by weight: the lowest id of those whose logit is so near the greatest that they
 * weigh the same. */
static int32_t likeliest(int64_t n, const struct sy_candidate *c) {
    double top = -INFINITY;
    int32_t best = INT32_MAX;
    for (int64_t i = 0; i < n; i++)
        top = c[i].p > top ? c[i].p : top;
    for (int64_t i = 0; i < n; i++)
        if (c[i].id < best && c[i].p > top - 1 && weight(c[i].p, top) == 1)
            best = c[i].id;
    return best;
}

int32_t sy_sampling_choose(const struct sy_sampling *how, int64_t index, int64_t n, struct sy_candidate *c) {
    int64_t kept = 0;
    if (how->temperature <= 0)
        return likeliest(n, c);
    weigh(how->temperature, n, c);
    if (how->top_k > 0 && how->top_k < n)
        n = how->top_k;
    double all = 0, sum = 0;
    for (int64_t i = 0; i < n; i++)
        all += c[i].p;
    for (kept = 0; kept < n && (kept == 0 || sum < how->top_p * all); kept++)
        sum += c[kept].p;
    double u = sy_rng_uniform(sy_rng_key(how->seed, SY_RNG_SAMPLE, 0, how->sample), (uint64_t)index) * sum,
           at = 0;
    for (int64_t i = 0; i < kept; i++) {
        at += c[i].p;
        if (u < at)
            return c[i].id;
    }
    return c[kept - 1].id;
}

sy_status sy_sampling_check(const struct sy_sampling *how) {
    if (!(how->temperature >= 0 && how->temperature <= 100))
        SY_FAIL(SY_ERR_USAGE, "--temperature %g: must be in 0..100 (0: always the likeliest)",
                how->temperature);
    if (!(how->top_p > 0 && how->top_p <= 1))
        SY_FAIL(SY_ERR_USAGE, "--top-p %g: must be above 0 and at most 1", how->top_p);
    if (how->top_k < 0)
        SY_FAIL(SY_ERR_USAGE, "--top-k %lld: must be 0 (all) or more", (long long)how->top_k);
    if (how->max_tokens < 0 || how->max_tokens > 1 << 24)
        SY_FAIL(SY_ERR_USAGE, "--max-tokens %lld: must be in 0..%d", (long long)how->max_tokens, 1 << 24);
    return SY_OK;
}
