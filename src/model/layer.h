/* What the parts of the model share: weights, the batch, linear maps forward and backward, norms over whole rows.
 *
 * A part has a struct of activations that backward needs (act), a struct of gradients (grad), both views into arenas, and
 * functions take (carve the arena), fwd, bwd_inputs, bwd_weights. Backward is two functions so that a schedule may put other
 * work between them; bwd_weights reads act and grad and writes to the sink alone.
 */
#ifndef SY_MODEL_LAYER_H
#define SY_MODEL_LAYER_H

#include "device/carve.h"
#include "model/params.h"
#include "model/sink.h"
#include "moe/layer.h"

struct sy_batch {
    int64_t sequences, seq_len, tokens; /* tokens = sequences * seq_len */
    const int32_t *ids;                 /* [tokens] */
    const int32_t *labels;              /* [tokens], negative: none; NULL without loss */
    const int32_t *doc_start;           /* [tokens] */
    const int32_t *position;            /* [tokens] */
    const struct sy_routes *given;      /* [layers] routes to follow; NULL: the router chooses */
    const struct sy_routes *taken;      /* [layers] where the routes of a forward pass are written; NULL: nowhere */
};

/* Weights in the layout of sy_params: fp32 masters, and BF of them. In class fp32 they are the same memory. */
struct sy_weights {
    const struct sy_params *params;
    float *master;
    void *stored;
    enum sy_dtype dtype;
    int64_t version; /* another one whenever a weight has changed, from 1 */
};

struct sy_layer_ctx {
    const struct sy_exec *x;
    const struct sy_config_model *model;
    struct sy_moe_env moe;
    struct sy_weights w;
    const float *rope_cos, *rope_sin; /* [max positions, rope dim / 2] */
    double attention_scale;
    int64_t max_tokens, max_sequences, seq_len; /* what buffers are sized for */
    struct sy_batch batch;
    enum sy_pass pass;
    int kept; /* pass RECOMPUTE: attention output and dispatched rows are still there */
};

/* The stored matrix [rows, cols] of a parameter. */
static inline struct sy_mat sy_weight(const struct sy_layer_ctx *c, int param) {
    const struct sy_param *p = &c->w.params->param[param];
    return sy_mat_of(sy_at(c->w.stored, c->w.dtype, p->offset), c->w.dtype, p->cols);
}

/* An fp32 vector; NULL for index -1. */
static inline const float *sy_vector(const struct sy_layer_ctx *c, int param) {
    return param < 0 ? NULL : c->w.master + c->w.params->param[param].offset;
}

/* y[T, out] = x[T, in] W^T + bias (param -1: none). */
void sy_linear_fwd(const struct sy_layer_ctx *c, int weight, int bias, struct sy_mat x, struct sy_mat y);

/* dx[T, in] = CHAIN over the outputs of the n maps, in order. */
struct sy_linear_grad {
    int weight;
    struct sy_mat dy;
};
void sy_linear_bwd(const struct sy_layer_ctx *c, int n, const struct sy_linear_grad *maps, struct sy_mat dx);

/* norm over whole rows [T, d] with parameter g; eps is the model's, or the one given. r [T]. */
void sy_norm_fwd(const struct sy_layer_ctx *c, int g, struct sy_mat x, struct sy_mat y, float *r);
void sy_norm_eps_fwd(const struct sy_layer_ctx *c, double eps, int g, struct sy_mat x, struct sy_mat y, float *r);
void sy_norm_bwd(const struct sy_layer_ctx *c, int g, struct sy_mat dy, struct sy_mat x, const float *r, struct sy_mat dx);
void sy_norm_weights(const struct sy_layer_ctx *c, const struct sy_grad_sink *sink, int g, struct sy_mat dy, struct sy_mat x,
                     const float *r);

/* Rotary tables (NUMERICS 3, "RoPE"), yarn included: cos and sin [positions, d/2] of fp64 angles, rounded once. */
void sy_rope_tables(const struct sy_config_model *model, int64_t d, int64_t positions, float *cos_out, float *sin_out);
/* Softmax scale: (head dimension)^-1/2, times yarn's mscale squared under mla. */
double sy_attention_scale(const struct sy_config_model *model);

#endif
