/* The decoder: embedding, layers, final norm, chunked head with loss; forward and backward of one batch.
 *
 * The model knows one batch of whole sequences, not lanes, ranks or steps: weight gradients go to a sink. What backward
 * needs is kept in slots: a layer has its own, or, when it is recomputed, shares one and keeps its input, and with selective
 * recompute the attention output and the dispatched rows. Nothing is
 * allocated after sy_model_create.
 */
#ifndef SY_MODEL_MODEL_H
#define SY_MODEL_MODEL_H

#include "base/log.h"
#include "model/layer.h"

struct sy_model_options {
    const struct sy_config_model *model;
    const struct sy_config_moe *moe;
    const struct sy_config_activation_checkpoint *recompute; /* NULL: forward only, no backward buffers */
    const struct sy_exec *exec;
    struct sy_groups groups;
    struct sy_weights weights;
    int64_t max_sequences, seq_len;
    int64_t combine_groups;
    int forced_balance;
    int64_t loss_sequences; /* of the global batch, for balance and z-loss */
    const struct sy_log *log;
};

struct sy_model_stats {     /* added to */
    int64_t loss;           /* 2^-24 nats */
    int64_t n_valid, n_bad; /* labels; those whose loss is not finite */
    int64_t *counts;        /* [n_layers * E] routes of each expert, or NULL */
    int64_t router_loss[2]; /* balance and z-loss over layers and sequences, without coefficients, 2^-24 */
    int64_t n_bad_router;   /* sequences, summed over layers, where one of these is not finite */
};

struct sy_model;

/* Local. Adds what sy_model_create takes to a measuring arena. */
void sy_model_measure(const struct sy_model_options *options, struct sy_arena *arena);

/* Local. Errors: ERR_MEMORY with the bytes. Owned by the caller. */
sy_status sy_model_create(const struct sy_model_options *options, struct sy_model **out);
void sy_model_destroy(struct sy_model *model);

/* Local. Widest row and head of all ops, for sy_ops_scratch_bytes. */
void sy_model_extent(const struct sy_config_model *model, const struct sy_config_moe *moe, int64_t *max_row,
                     int64_t *max_head);

/* Local. Forward and backward; each valid label's loss has weight w. Errors: ERR_NONFINITE names layer and token. */
sy_status sy_model_train(struct sy_model *model, const struct sy_batch *batch, float w, const struct sy_grad_sink *sink,
                         struct sy_model_stats *stats);

/* Local. Loss alone; counts nothing. */
sy_status sy_model_eval(struct sy_model *model, const struct sy_batch *batch, struct sy_model_stats *stats);

/* Local. logits [vocab] after `token` of the batch. */
sy_status sy_model_logits(struct sy_model *model, const struct sy_batch *batch, int64_t token, float *logits);

/* Local. To be called whenever a weight has changed. */
void sy_model_weights_changed(struct sy_model *model);

/* Local. What the MoE layers did since creation. */
const struct sy_moe_counters *sy_model_counters(const struct sy_model *model);

#endif
