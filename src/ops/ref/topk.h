/* Deterministic top-k: larger first; equal values (and -0, +0): lower id first. A property of the operation, no mode. */
#ifndef SY_OPS_REF_TOPK_H
#define SY_OPS_REF_TOPK_H

#include "ops/ref/tier.h"

/* ids of the k best of c[0..n-1], best first. A NaN gives some choice of distinct ids in range. */
static inline void top_k(int64_t n, int64_t k, const float *c, int32_t *ids) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        if (count == k && !(c[i] > c[ids[k - 1]]))
            continue; /* not larger than the last: the lower id stays */
        int64_t at = count < k ? count++ : k - 1;
        while (at > 0 && c[i] > c[ids[at - 1]]) {
            ids[at] = ids[at - 1];
            at--;
        }
        ids[at] = (int32_t)i;
    }
}

static inline void sort_ids(int64_t k, int32_t *ids) {
    for (int64_t i = 1; i < k; i++) {
        int32_t v = ids[i];
        int64_t j = i;
        for (; j > 0 && ids[j - 1] > v; j--)
            ids[j] = ids[j - 1];
        ids[j] = v;
    }
}

/* The lowest row of any thread with a NaN, or -1: each thread writes its own place in `bad`, ascending rows. */
static inline int64_t lowest_bad(const int64_t *bad, int n_threads) {
    for (int i = 0; i < n_threads; i++)
        if (bad[i] >= 0)
            return bad[i];
    return -1;
}

#endif
