/* The parameters of a model: what there is and what it is called in a checkpoint; dense parameters first,
 * then experts, then expert biases (buffers, not trained).
 *
 * A parameter is what one op multiplies with: W1 and W3 of an expert are one [2F, D] matrix inside and two
 * tensors in the checkpoint. A tensor is a contiguous range of rows of its parameter. Where a parameter's
 * numbers lie is the business of who holds them: masters and moments train/state.h, stored weights
 * parallel/resident.h, gradients parallel/tree.h. Listing the parameters needs no memory for them: 671
 * billion are fine.
 */
#ifndef SY_MODEL_PARAMS_H
#define SY_MODEL_PARAMS_H

#include "config/config.h"
#include "ops/ops.h"

/* SITE: a second use of another parameter's weight, the head's of a tied embedding. It has a gradient of its
 * own (NUMERICS 4: a weight used at several sites has one sum per site) and nothing else. */
enum sy_param_kind {
    SY_PARAM_MATRIX,
    SY_PARAM_VECTOR,
    SY_PARAM_EMBEDDING,
    SY_PARAM_EXPERT,
    SY_PARAM_BUFFER,
    SY_PARAM_SITE
};

struct sy_param {
    enum sy_param_kind kind;
    int layer, expert;  /* -1 where there is none */
    int64_t rows, cols; /* a vector is [1, cols] */
};

enum sy_init { SY_INIT_NORMAL, SY_INIT_ONES, SY_INIT_ZEROS };

struct sy_tensor {
    char *name;  /* in the checkpoint */
    uint64_t id; /* FNV-1a 64 of the name */
    int param;
    int n_dims;
    int64_t dims[2];
    int64_t n;         /* elements */
    int64_t first_row; /* in its parameter */
    enum sy_init init;
    double sd, cut; /* normal: deviation, and bound of the absolute value (0: none) */
};

/* Indices of a layer's parameters; -1 where the layer has none. Expert e: w13 is first_expert + 2e, w2 the
 * next. */
struct sy_layer_params {
    int attn_norm, ffn_norm;
    int wq, wk, wv, wo, bq, bk, bv, bo, q_norm, k_norm; /* gqa; wq also mla without q_lora, wo and bo mla */
    int wqa, bqa, qa_norm, wqb, wkva, bkva, kva_norm, wkvb; /* mla */
    int w13, w2;                                            /* dense feed-forward */
    int gate, gate_bias, expert_bias, first_expert;         /* experts */
    int shared_w13, shared_w2, shared_gate;
};

struct sy_params {
    struct sy_param *param;
    int n_params;
    struct sy_tensor *tensor; /* [n_tensors + n_sites] order of creation; `by_name` is bytewise */
    int n_tensors;            /* of a checkpoint, masters and moments */
    int n_sites;              /* behind them, what has a gradient alone: of tied embeddings the head */
    int *by_name;
    struct sy_layer_params *layer;
    int n_layers;
    int embedding, final_norm, head;
    int64_t n_parameters; /* what a model card counts: without expert biases */
    int64_t n_active;     /* of these, used by one token, the embedding included */
};

/* The Hugging Face class whose semantics are exactly the configuration's, and so whose names are used. */
enum sy_family {
    SY_FAMILY_NONE,
    SY_FAMILY_DEEPSEEK_V2,
    SY_FAMILY_DEEPSEEK_V3,
    SY_FAMILY_QWEN2_MOE,
    SY_FAMILY_QWEN3_MOE,
    SY_FAMILY_OLMOE,
    SY_FAMILY_MIXTRAL
};
enum sy_family sy_model_family(const struct sy_config_model *model, const struct sy_config_moe *moe);

/* The same; *lack: which option no class has, or not with the others; "" of one that has a class. Static. */
enum sy_family sy_model_family_lack(const struct sy_config_model *model, const struct sy_config_moe *moe,
                                    const char **lack);

/* Local. Lists the parameters. Errors: ERR_MEMORY. Owned by the caller: sy_params_destroy (NULL is fine). */
sy_status sy_params_create(const struct sy_config_model *model, const struct sy_config_moe *moe,
                           struct sy_params **out);
void sy_params_destroy(struct sy_params *params);

/* Local. The initial values of a tensor (NUMERICS 2 "Random numbers") for the op init, without `out`; a
 * function of seed, name and index. */
struct sy_init_item sy_params_init(const struct sy_tensor *tensor, uint64_t seed);

/* Whether a layer has experts. */
static inline int sy_layer_is_moe(const struct sy_config_model *model, int layer) {
    return layer >= model->n_dense_layers;
}

#endif
