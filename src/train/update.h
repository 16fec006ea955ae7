/* What ends a step: gradient norm, clip, AdamW, stored weights, expert bias, digest (NUMERICS 3, 4 and 6). */
#ifndef SY_TRAIN_UPDATE_H
#define SY_TRAIN_UPDATE_H

#include "base/digest.h"
#include "model/layer.h"
#include "parallel/gradients.h"

struct sy_update {
    const struct sy_params *params;
    const struct sy_exec *exec;
    struct sy_weights weights;
    float *m, *v;              /* [n_trained] */
    double *blocks;            /* scratch of sy_update_blocks(params) sums */
    struct sy_digest *digests; /* scratch, one a thread */
};

/* Most 1024-blocks of one tensor. */
int64_t sy_update_blocks(const struct sy_params *params);

/* Norm of all gradients, rounded once; *n_bad counts non-finite elements. */
double sy_update_norm(const struct sy_update *u, const struct sy_gradients *g, int64_t *n_bad);

struct sy_update_step {
    int64_t t; /* applied steps including this one, from 1: the power in AdamW's bias correction */
    double lr, beta1, beta2, eps, weight_decay, max_norm, norm;
};
void sy_update_adamw(const struct sy_update *u, const struct sy_gradients *g, const struct sy_update_step *step);

/* b += coeff sign(T K - count E), centred or not, for the layer's expert bias; counts over the global batch. */
void sy_update_expert_bias(const struct sy_update *u, int layer, const struct sy_config_moe *moe, int64_t tokens,
                           const int64_t *counts);

/* BF of every master. */
void sy_update_stored(const struct sy_update *u);

/* The weights' digest over all tensors of the checkpoint. */
struct sy_digest sy_update_digest(const struct sy_update *u);

#endif
