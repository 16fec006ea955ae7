/* The micro-batches of a pipeline: of all calls of a step (parallel/calls.h) which sequences this rank brings and
 * what the others of its expert-parallel group bring, at once, for several are under way at a time; and passes
 * over held-out sequences. */
#ifndef SY_TRAIN_MICRO_H
#define SY_TRAIN_MICRO_H

#include "parallel/calls.h"

struct sy_session;

struct sy_micro {
    int64_t n;
    struct sy_micro_item {
        int64_t first, n; /* places of the walk, or of the feed */
        struct sy_group_batch group;
    } * item;
    int64_t *of; /* [n, ranks, max_rounds] */
    struct sy_sink_source *source;
};

/* Local. Room for the calls, and a step's in it. Errors: ERR_MEMORY. sy_micro_fini ({0} is fine). */
sy_status sy_micro_init(struct sy_calls *calls, struct sy_micro *micro);
void sy_micro_fini(struct sy_micro *micro);

/* Local. Micro-batch mb of a step, for sy_pipeline_run; self is the session. */
struct sy_batch sy_micro_batch(void *session, int64_t mb);

/* Collective over the world's pipelines: losses of this rank's part of `total` held-out sequences, to the tally,
 * as many passes on every data-parallel rank. Errors: of the data, the exchange; ERR_PEER. */
sy_status sy_micro_eval(struct sy_session *session, int64_t total);

#endif
