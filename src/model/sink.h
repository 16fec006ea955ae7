/* Where weight gradients go. The model never sums over sequences: it hands the rows, the sink knows lanes, rounds and ranks
 * and applies leaf, fold and tree (NUMERICS 4; parallel/gradients.h implements it).
 *
 * A batch is B sequences of S tokens in the order that the sink was told; each call concerns tokens of that batch. The views
 * are read before the call returns.
 */
#ifndef SY_MODEL_SINK_H
#define SY_MODEL_SINK_H

#include "device/tensor.h"

struct sy_sink_experts {
    int first_param, param_step; /* of expert e: first_param + e * param_step */
    int64_t experts;
    const int64_t *offset; /* [experts * B + 1] first row of (expert, sequence) */
    struct sy_mat dy;      /* [N, rows of the parameter] */
    struct sy_mat x;       /* [N, cols of the parameter] */
};

struct sy_grad_sink {
    void *self;
    /* dW = CHAIN over tokens first..first+n-1 of (dy, x): dy [n, rows], x [n, cols]. A piece ends at the end of a sequence
     * or at a multiple of KB from its start, pieces come in token order, and one call may cover several sequences. */
    void (*matrix)(void *self, int param, int64_t first, int64_t n, struct sy_mat dy, struct sy_mat x);
    void (*experts)(void *self, const struct sy_sink_experts *rows);
    /* R64 over (token, head) of a * (x * r); x.data NULL: of a. */
    void (*vector)(void *self, int param, int64_t heads, struct sy_heads a, struct sy_heads x, const float *r);
    void (*embedding)(void *self, int param, const int32_t *ids, struct sy_mat dy);
};

#endif
