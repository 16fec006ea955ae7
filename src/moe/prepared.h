/* Prepared expert weights: W13^T and W2^T of every expert, so that forward's products, and those of recompute, read their
 * right-hand side by rows. They pay when a version of the weights is used more than once: in evaluation, and in training
 * with several micro-batches or recompute. A copy belongs to a version of the weights; another version, also one with the
 * same values, makes it anew, and version 0 is never kept. The two are made when first used, each by itself.
 */
#ifndef SY_MOE_PREPARED_H
#define SY_MOE_PREPARED_H

#include "moe/experts.h"

struct sy_prepared {
    struct sy_mat w13_t, w2_t;       /* [experts, d, 2f], [experts, f, d] stored; data NULL: there is no cache */
    int64_t w13_version, w2_version; /* what they were made of; 0: nothing */
};

void sy_prepared_take(struct sy_arena *a, enum sy_dtype t, int64_t experts, int64_t d, int64_t f, struct sy_prepared *p);

/* W13^T and W2^T for `version` of w: the cache's, made now unless it has that version, or the weights themselves without a
 * cache (p NULL). Counts hits and misses. */
struct sy_expert_operand sy_prepared_w13(const struct sy_exec *x, int64_t experts, const struct sy_expert_weights *w,
                                         int64_t version, struct sy_prepared *p, struct sy_moe_counters *counters);
struct sy_expert_operand sy_prepared_w2(const struct sy_exec *x, int64_t experts, const struct sy_expert_weights *w,
                                        int64_t version, struct sy_prepared *p, struct sy_moe_counters *counters);

#endif
