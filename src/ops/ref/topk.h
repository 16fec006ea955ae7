/* Deterministic top-k: larger first; equal values (and -0, +0): lower id first. A property of the operation,
 * no mode. */
#ifndef SY_OPS_REF_TOPK_H
#define SY_OPS_REF_TOPK_H

#include "ops/ref/tier.h"

/* Above this many the insertion gives way to a heap: the work for a row is then n log k, whatever the order
 * of its values.
 */
enum { INSERT_MAX = 16 };

/* Is place a before place b? Equal values: the lower id. */
static inline int before(const float *c, int32_t a, int32_t b) {
    return c[a] > c[b] || (!(c[a] < c[b]) && a < b);
}

/* ids[0..n-1] is a heap with the worst on top, but for the top itself. */
static inline void sink_top(int64_t n, const float *c, int32_t *ids) {
    int32_t v = ids[0];
    int64_t at = 0;
    for (int64_t child = 1; child < n; at = child, child = 2 * child + 1) {
        if (child + 1 < n && before(c, ids[child], ids[child + 1]))
            child++;
        if (before(c, ids[child], v))
            break;
        ids[at] = ids[child];
    }
    ids[at] = v;
}

static inline void lift_last(int64_t n, const float *c, int32_t *ids) {
    int64_t at = n - 1;
    int32_t v = ids[at];
    for (; at > 0 && before(c, ids[(at - 1) / 2], v); at = (at - 1) / 2)
        ids[at] = ids[(at - 1) / 2];
    ids[at] = v;
}

static inline void top_k_heap(int64_t n, int64_t k, const float *c, int32_t *ids) {
    for (int64_t i = 0; i < k; i++) {
        ids[i] = (int32_t)i;
        lift_last(i + 1, c, ids);
    }
    for (int64_t i = k; i < n; i++)
        if (c[i] > c[ids[0]]) { /* not larger than the worst: the lower id stays */
            ids[0] = (int32_t)i;
            sink_top(k, c, ids);
        }
    for (int64_t i = k - 1; i > 0; i--) { /* the worst goes last */
        int32_t worst = ids[0];
        ids[0] = ids[i];
        ids[i] = worst;
        sink_top(i, c, ids);
    }
}

/* ids of the k best of c[0..n-1], best first. A NaN gives some choice of distinct ids in range. */
static inline void top_k(int64_t n, int64_t k, const float *c, int32_t *ids) {
    int64_t count = 0;
    if (k > INSERT_MAX) {
        top_k_heap(n, k, c, ids);
        return;
    }
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

/* The lowest row of any thread with a NaN, or -1: each thread writes its own place in `bad`, ascending
 * rows. */
static inline int64_t lowest_bad(const int64_t *bad, int n_threads) {
    for (int i = 0; i < n_threads; i++)
        if (bad[i] >= 0)
            return bad[i];
    return -1;
}

#endif
