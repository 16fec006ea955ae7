/* One product c[m, n] = CHAIN over k of (a, b), + bias, as a call: gemm with one problem of one part. */
#ifndef SY_OPS_PRODUCT_H
#define SY_OPS_PRODUCT_H

#include "ops/ops.h"

/* a [m, k], b [k, n] stored; bias [n] or NULL; c stored or fp32. */
static inline void sy_product(const struct sy_exec *x, int64_t m, int64_t n, int64_t k, struct sy_mat a, struct sy_mat b,
                              const float *bias, struct sy_mat c) {
    struct sy_gemm_part part = {a, b, k};
    x->ops->gemm(x, &(struct sy_gemm){.m = m, .n = n, .parts = &part, .n_parts = 1, .bias = bias, .c = c}, 1);
}

#endif
