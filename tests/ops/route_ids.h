/* Random routes for the tests of routing. */
#ifndef SY_TESTS_OPS_ROUTE_IDS_H
#define SY_TESTS_OPS_ROUTE_IDS_H

#include "ops_harness.h"

enum { E_MAX = 130, K_MAX = 24 };

/* Random ascending ids; skew: one expert takes all that it can, another none. */
static inline void fill_ids(struct buf ids, int64_t tokens, int64_t e, int64_t k) {
    int skew = (int)below(3);
    for (int64_t t = 0; t < tokens; t++) {
        struct item item[E_MAX];
        int32_t out[K_MAX];
        for (int64_t i = 0; i < e; i++)
            item[i] = (struct item){skew && i == 0            ? 2.0f
                                    : skew == 2 && i == e - 1 ? -2.0f
                                                              : uniform(),
                                    (int32_t)i};
        qsort(item, (size_t)e, sizeof *item, better_first);
        for (int64_t j = 0; j < k; j++)
            out[j] = item[j].id;
        qsort(out, (size_t)k, sizeof *out, ascending);
        for (int64_t j = 0; j < k; j++)
            set_both_i32(ids, t * k + j, out[j]);
    }
}

#endif
