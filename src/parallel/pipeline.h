/* One rank's part of a step over a pipeline of stages: does the steps of its schedule in the table's
 * order, and moves what stages hand to each other: the residual stream forward and its gradient backward,
 * [T, D] of the stored type, as they are.
 *
 * A receive is begun one step ahead, a send when it is computed; its memory is used again `unread` of the
 * schedule micro-batches later. A rank that has failed goes on with what it has in its buffers: its
 * neighbours are not told by messages (comm.h), but by the next collective, which the caller comes to
 * with the status.
 */
#ifndef SY_PARALLEL_PIPELINE_H
#define SY_PARALLEL_PIPELINE_H

#include "comm/comm.h"
#include "model/model.h"
#include "parallel/schedule.h"
#include "parallel/stages.h"

struct sy_pipeline_options {
    const struct sy_schedule *schedule; /* outlives the pipeline, as the model does */
    struct sy_comm pp;                  /* in the order of the stages' ranks */
    const struct sy_exec *exec;
    struct sy_model *model; /* of sy_pipeline_stages */
    int64_t d;              /* of a boundary */
};

/* A stage as the model of its rank takes it, in the order of the rank's stages. */
struct sy_model_stage sy_pipeline_stage(const struct sy_schedule *schedule, int stage,
                                        const struct sy_stages *stages);

struct sy_pipeline;

/* Local. Errors: ERR_MEMORY. Owned by the caller. */
sy_status sy_pipeline_create(const struct sy_pipeline_options *options, struct sy_pipeline **out);
void sy_pipeline_destroy(struct sy_pipeline *pipeline);

struct sy_pipeline_run {
    void *self;
    struct sy_batch (*batch)(void *self, int64_t mb); /* the same sequences on every rank; also none */
    const struct sy_grad_sink *sink;                  /* NULL: forward alone, loss to the tally */
    /* Around what a stage does with a batch that has sequences: before its forward and backward, which sees
     * what was changed of the batch; after its forward. Or NULL. */
    void (*before)(void *self, struct sy_batch *b);
    void (*after)(void *self, const struct sy_batch *b, int stage);
};

/* Collective over pp and ep. Errors: of the exchange, not agreed over pp; ERR_PEER. */
sy_status sy_pipeline_run(struct sy_pipeline *pipeline, const struct sy_pipeline_run *run);

/* Local. Bytes that this rank has sent to other stages since creation. */
int64_t sy_pipeline_sent(const struct sy_pipeline *pipeline);

#endif
