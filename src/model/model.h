/* The decoder: embedding, stages of layers, final norm, chunked head with loss; forward and backward of
 * batches.
 *
 * A model has all layers as one stage, or those stages that a rank of a pipeline has. It knows batches of
 * whole sequences, not lanes, ranks or steps: weights come from a source, weight gradients go to a sink,
 * what is counted goes to the tally. Nothing is allocated after sy_model_create, and nothing waits for a
 * device.
 */
#ifndef SY_MODEL_MODEL_H
#define SY_MODEL_MODEL_H

#include "model/head.h"
#include "model/stage.h"

struct sy_model_stage {
    int first, n_layers; /* also none */
    int embeds, ends;    /* it begins with the embedding; it ends with the head */
    int pending;         /* batches between their forward and the end of their backward */
    int unread;          /* batches of OUT, and of DIN, that a neighbour may not have read yet */
    int split;           /* backward comes in halves */
};

struct sy_model_options {
    const struct sy_config_model *model;
    const struct sy_config_moe *moe;
    const struct sy_config_activation_checkpoint *recompute; /* NULL: forward only, no backward buffers */
    const struct sy_exec *exec;
    struct sy_comm ep;
    const struct sy_params *params;
    struct sy_weight_source weights;
    int64_t max_sequences, seq_len; /* at most: of a batch, of a sequence */
    int max_rounds;                 /* at most, of a batch over ranks */
    int64_t combine_groups;
    int forced_balance;
    int recount; /* a planted bug: recompute counts routes again */
    int direct;  /* over ranks: rows of experts go straight into the others' memory */
    double room; /* over ranks: rows of this rank's experts, times a balanced load; 0: the worst case */
    int64_t planned_rows;             /* or as many rows, if that is more */
    int64_t loss_sequences;           /* of the global batch, for balance and z-loss */
    const struct sy_scalars *scalars; /* in the exec's memory, as the two below */
    struct sy_tally *tally;
    int64_t *counts; /* [n_layers, E] routes of each expert in training; or NULL */
    const struct sy_log *log;
    const struct sy_model_stage *stages; /* read by create; NULL: all layers, a batch at a time */
    int n_stages;
    /* Forward only, one stage: texts of a batch go on from those before (cache.h). */
    struct sy_cache_size cache;
};

struct sy_model;

/* Local. Adds what sy_model_create takes to a measuring arena. Errors: ERR_MEMORY. */
sy_status sy_model_measure(const struct sy_model_options *options, struct sy_arena *arena);

/* Collective over ep: the agreed status. Errors: ERR_MEMORY with the bytes. Owned by the caller. */
sy_status sy_model_create(const struct sy_model_options *options, struct sy_model **out);
void sy_model_destroy(struct sy_model *model);

/* Local. Widest row and head of all ops, for sy_ops_scratch_bytes. */
void sy_model_extent(const struct sy_config_model *model, const struct sy_config_moe *moe, int64_t *max_row,
                     int64_t *max_head);

/* Collective over ep. Forward and backward; each valid label's loss has the scalars' weight w. Errors: of the
 * exchange. */
sy_status sy_model_train(struct sy_model *model, const struct sy_batch *batch,
                         const struct sy_grad_sink *sink);

/* The same in parts, for a pipeline: of stage `stage` of the options and batch mb, from 0, of a step. A stage
 * reads and writes its edges: what comes from, and goes to, its neighbours. Forward and backward of a stage
 * go through the batches ascending; mb's memory is mb - pending's.
 *
 *     IN -> fwd -> OUT      DOUT -> bwd, or bwd_inputs -> DIN; split: DOUT stays until bwd_weights is done
 *
 * The first stage has no IN and no DIN, but ids and the embedding; the last no OUT and no DOUT, but the head.
 * OUT's and DIN's memory is that of mb - unread, DOUT's, unless backward is split, that of mb - 2. */
enum sy_model_edge { SY_MODEL_IN, SY_MODEL_OUT, SY_MODEL_DOUT, SY_MODEL_DIN };
struct sy_mat sy_model_edge(const struct sy_model *model, int stage, enum sy_model_edge edge, int64_t mb);

/* Collective over ep. sink: the head's gradients; NULL without backward. Errors: of the exchange. */
sy_status sy_model_fwd(struct sy_model *model, int stage, int64_t mb, const struct sy_batch *batch,
                       enum sy_pass pass, const struct sy_grad_sink *sink);
/* Collective over ep. The embedding's gradient goes to the sink in both. Errors: of the exchange. */
sy_status sy_model_bwd(struct sy_model *model, int stage, int64_t mb, const struct sy_grad_sink *sink);
sy_status sy_model_bwd_inputs(struct sy_model *model, int stage, int64_t mb, const struct sy_grad_sink *sink);
void sy_model_bwd_weights(struct sy_model *model, int stage, int64_t mb, const struct sy_grad_sink *sink);

/* Collective over ep. Loss alone, to the tally; no routes are counted. */
sy_status sy_model_eval(struct sy_model *model, const struct sy_batch *batch);

/* A pass of a rank that has no sequences left, while others have: what is collective in its weights
 * (weights.h). One rank of ep. */
void sy_model_idle(struct sy_model *model, int backward);
void sy_model_idle_stage(struct sy_model *model, int stage, enum sy_stage_call call);

/* Collective over ep. Logits [vocab] after `token` of the batch, in the exec's memory. */
sy_status sy_model_logits(struct sy_model *model, const struct sy_batch *batch, int64_t token,
                          const float **logits);

/* Collective over ep. The same of all tokens: a pass up to the head, then logits [n, vocab] of tokens first …
 * first+n-1 of that batch, at most sy_model_logits_most at a time; overwritten by the next. */
sy_status sy_model_logits_begin(struct sy_model *model, const struct sy_batch *batch);
int64_t sy_model_logits_most(const struct sy_model *model);
const float *sy_model_logits_rows(struct sy_model *model, int64_t first, int64_t n);

/* Collective over ep. The same pass, then the loss of the tokens first … first+n-1, to the tally. */
void sy_model_loss_rows(struct sy_model *model, const struct sy_batch *batch, int64_t first, int64_t n);

/* Local. Of a cache (cache.h): the first n tokens of text `from` are those of text `to`, too. */
void sy_model_copy_text(const struct sy_model *model, int from, int to, int64_t n);

/* Rows that the experts of a rank have room for, all ranks alike; 0: all there can be. Where they got
 * more, the tally says so (overflow), and the same batches are to be run again by a model with more
 * planned_rows. */
int64_t sy_model_planned_rows(const struct sy_model *model);

/* Local. What the MoE layers did since creation. */
struct sy_moe_counters *sy_model_counters(struct sy_model *model);

#endif
