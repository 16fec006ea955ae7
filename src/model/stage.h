/* A stage: a contiguous run of layers, also none, forward and backward of micro-batches.
 *
 *     fwd(mb) ... bwd(mb)                             layers in reverse, inputs and weights layer by layer
 *     fwd(mb) ... bwd_inputs(mb) ... bwd_weights(mb)  apart, other work between (zero-bubble); `split`
 *
 * Up to `pending` micro-batches may be between their forward and the end of their backward; each has memory
 * of its own for what its backward reads, so that their calls may interleave in any order. What is recomputed
 * (activation_checkpoint) is made again in bwd or bwd_inputs: of such a layer its input is kept, and with
 * selective recompute the attention output and the dispatched rows.
 */
#ifndef SY_MODEL_STAGE_H
#define SY_MODEL_STAGE_H

#include "base/log.h"
#include "model/layer.h"

struct sy_stage_options {
    const struct sy_layer_ctx *ctx;                          /* outlives the stage */
    const struct sy_config_activation_checkpoint *recompute; /* NULL: forward only */
    int first, n_layers;
    int pending;
    int split;
    const struct sy_log *log;
};

struct sy_stage;

/* Local. An empty stage of that many layers; its memory comes with carve. Errors: ERR_MEMORY, ERR_USAGE more
 * rows of experts than can be numbered. Owned by the caller. */
sy_status sy_stage_create(const struct sy_stage_options *options, struct sy_stage **out);
void sy_stage_destroy(struct sy_stage *stage);
/* Local. Takes what the stage needs; called once to measure and once to carve. */
void sy_stage_carve(struct sy_stage *stage, struct sy_arena *arena);

/* Collective over the expert-parallel group, after carve. Errors: `mine`; ERR_PEER, ERR_MEMORY. */
sy_status sy_stage_connect(struct sy_stage *stage, sy_status mine);
/* A micro-batch of no sequences: what is collective in the weights alone, in the order of the call that
 * is left out. */
enum sy_stage_call { SY_STAGE_FWD, SY_STAGE_BWD, SY_STAGE_BWD_WEIGHTS };
void sy_stage_idle(struct sy_stage *stage, enum sy_stage_call call);

/* Collective over the expert-parallel group. out [T, D] from in [T, D], which stays until the micro-batch's
 * backward is done. pass: EVAL or TRAIN. The batch is a value; its views stay as long as `in`. Errors: those
 * of the exchange. */
sy_status sy_stage_fwd(struct sy_stage *stage, int mb, const struct sy_batch *batch, enum sy_pass pass,
                       struct sy_mat in, struct sy_mat out);

/* Local. Of a cache (cache.h): the first n tokens of slot `from` are those of slot `to`, too. */
void sy_stage_copy_slot(const struct sy_stage *stage, int from, int to, int64_t n);

/* Collective. din [T, D] (or data NULL for none) from dout [T, D], weight gradients to the sink. */
sy_status sy_stage_bwd(struct sy_stage *stage, int mb, struct sy_mat dout, struct sy_mat din,
                       const struct sy_grad_sink *sink);

/* The same in two halves, with `split`; dout stays until the second is done. */
sy_status sy_stage_bwd_inputs(struct sy_stage *stage, int mb, struct sy_mat dout, struct sy_mat din);
void sy_stage_bwd_weights(struct sy_stage *stage, int mb, const struct sy_grad_sink *sink);

#endif
