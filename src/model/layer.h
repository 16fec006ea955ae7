/* What the parts of the model share: the batch, norms over whole rows, rotary tables.
 *
 * A part has a struct of activations that backward needs (act), a struct of gradients that the weight
 * gradients need (grad), and functions take (carve the arena), fwd, bwd_inputs, bwd_weights. bwd_weights
 * reads act and grad and writes to the sink alone; between the two a schedule may put other work, also of
 * other micro-batches with their own act and grad (stage.h).
 */
#ifndef SY_MODEL_LAYER_H
#define SY_MODEL_LAYER_H

#include "device/carve.h"
#include "model/params.h"
#include "model/sink.h"
#include "model/weights.h"

/* What all ranks of the expert-parallel group bring to a batch: the same on each of them. */
struct sy_group_batch {
    int rounds;
    const int64_t *of;                   /* [ranks, rounds] sequences */
    const struct sy_sink_source *source; /* whose they are, in the order of (round, rank) */
    int n_sources;
};

/* Rows of a batch that are one text's: its tokens cached .. cached + n - 1, a sequence of one document. */
struct sy_text_rows {
    int64_t row, n;
    int64_t cached; /* tokens before these, whose keys and values are in the cache (cache.h) */
    int slot;       /* of the cache; without one: not read, and cached is 0 */
};

/* A batch in the exec's memory. */
struct sy_batch {
    struct sy_span at;                  /* the sequences, by places of the walk */
    int64_t tokens;                     /* at.n * at.seq_len */
    const struct sy_group_batch *group; /* NULL: this rank is alone */
    /* [n_texts] the host's: instead of equal sequences, with at = {0, 1, tokens}, forward alone; or NULL */
    const struct sy_text_rows *texts;
    int n_texts;
    const int32_t *ids;            /* [tokens] */
    const int32_t *labels;         /* [tokens], negative: none; NULL without loss */
    const int32_t *doc_start;      /* [tokens]; NULL: one document a sequence */
    const int32_t *position;       /* [tokens] */
    const int32_t *sequence;       /* [at.n] number of each in the step's batch; NULL: 0, 1, ... */
    const struct sy_routes *given; /* [layers] routes to follow; NULL: the router chooses */
    /* [layers] where the routes of a forward pass are written; NULL: nowhere */
    const struct sy_routes *taken;
};

/* Of keys and values (cache.h): so many texts, each of up to so many tokens; texts 0: there is no cache. */
struct sy_cache_size {
    int texts;
    int64_t tokens;
};

struct sy_layer_ctx {
    const struct sy_exec *x;
    const struct sy_config_model *model;
    struct sy_moe_env moe;
    const struct sy_params *params;
    struct sy_weight_source weights;
    const float *rope_cos, *rope_sin; /* [max positions, rope dim / 2] */
    double attention_scale;
    int64_t max_tokens, max_sequences, max_seq_len; /* what buffers are sized for */
    struct sy_cache_size cache;
    const struct sy_scalars *scalars;
    struct sy_tally *tally;
    int64_t *counts; /* [n_layers, E] */
};

/* norm over whole rows [T, d] with weight g; x: its input. */
struct sy_row_norm {
    int64_t d;
    const float *g;
    struct sy_mat x;
    float *r; /* [T] */
};
void sy_norm_fwd(const struct sy_layer_ctx *c, double eps, int64_t tokens, const struct sy_row_norm *n,
                 struct sy_mat y);
void sy_norm_bwd(const struct sy_layer_ctx *c, int64_t tokens, const struct sy_row_norm *n, struct sy_mat dy,
                 struct sy_mat residual, struct sy_mat dx);
/* g is not read. */
void sy_norm_weights(const struct sy_batch *b, const struct sy_grad_sink *sink, int param,
                     const struct sy_row_norm *n, struct sy_mat dy);

/* Rotary tables (NUMERICS 3, "RoPE"), yarn included: cos and sin [positions, d/2] of fp64 angles, rounded
 * once; host. */
void sy_rope_tables(const struct sy_config_model *model, int64_t d, int64_t positions, float *cos_out,
                    float *sin_out);
/* Softmax scale: (head dimension)^-1/2, times yarn's mscale squared under mla. */
double sy_attention_scale(const struct sy_config_model *model);

#endif
