/* Pipeline schedules: which stage computes which micro-batch when, as a table. A pure function of numbers.
 *
 *     F  forward of a micro-batch through a stage      B  its backward, whole
 *     I  backward's half for the inputs                W  the half for the weights
 *
 * Stages go round the ranks: stage s lies on rank s mod R, so a rank has V = S / R of them. Each rank
 * does its steps in the table's order; a step waits for the same micro-batch's F of the stage before, or
 * its B (or I) of the stage behind. The schedules have the names and orders of PyTorch's
 * torch.distributed.pipelining:
 *
 *     GPipe                  all F, then all B                                            V = 1
 *     1F1B                   R - 1 - r F of rank r, then F and B in turn                  V = 1
 *     Interleaved1F1B        the same over V stages; arXiv:2104.04473, 2.2                any V
 *     InterleavedZeroBubble  B in halves, W of rank r r steps late, in bubbles else idle: arXiv:2401.10241,
 *                            ZB-H1; V > 1 interleaves                                     any V
 *
 * Interleaved, a rank takes M micro-batches in max(1, M / R) rounds as even as it goes, the first ones
 * longer: a round through its first stage, the same through its second, and so on. M need not divide:
 * PyTorch asks for equal rounds, here each has R micro-batches at least, which is all that the order
 * needs.
 *
 * In every table the B, and the W, of a stage go through the micro-batches in ascending order: the order in
 * which a lane's leaves are folded (NUMERICS 4).
 */
#ifndef SY_PARALLEL_SCHEDULE_H
#define SY_PARALLEL_SCHEDULE_H

#include "base/status.h"
#include "config/config.h"

enum sy_work { SY_WORK_F, SY_WORK_B, SY_WORK_I, SY_WORK_W };

struct sy_schedule_shape {
    enum sy_parallelism_pipeline_parallel_schedule kind;
    int ranks, stages, micro_batches; /* R, S, M */
};

struct sy_schedule_step {
    int stage, micro_batch;
    enum sy_work work;
    int64_t begin, end;
};

struct sy_schedule {
    struct sy_schedule_shape shape;
    int split;                     /* backward comes in halves */
    int n_each;                    /* steps of a rank */
    struct sy_schedule_step *step; /* [R, n_each], each rank's in its order */
    int *pending;                  /* [S] most micro-batches between their F and the end of their backward */
    /* [S] what a stage has sent, either way, and its reader has not begun to receive (with the step
     * before the one that reads it) is of as many micro-batches at most: with that many buffers no rank
     * waits longer than the table says, and none for ever */
    int *unread;
    int64_t length; /* end of the last step */
};

/* Local. Times of the table are units: F, I, W one each, B two, messages none. Errors: ERR_USAGE with the
 * numbers for what the schedule cannot do, ERR_MEMORY. Owned by the caller. */
sy_status sy_schedule_create(const struct sy_schedule_shape *shape, struct sy_schedule **out);
void sy_schedule_destroy(struct sy_schedule *schedule);

/* How long a stage's steps last, in any unit; B lasts i + w. */
struct sy_schedule_times {
    int64_t f, i, w;
};

/* Local. Other times: of [S] stages; message: from a step's end to where another rank may use it. The
 * order of each rank's steps stays. */
sy_status sy_schedule_time(struct sy_schedule *schedule, const struct sy_schedule_times *of_stage,
                           int64_t message);

static inline const struct sy_schedule_step *sy_schedule_of_rank(const struct sy_schedule *s, int rank) {
    return s->step + (size_t)rank * (size_t)s->n_each;
}

static inline int sy_schedule_rank_of(const struct sy_schedule *s, int stage) {
    return stage % s->shape.ranks;
}

/* Micro-batches that rank `rank` begins before its first backward, and, of a split one, by how many steps W
 * comes late: what the orders above are made of. */
int sy_schedule_warmup(const struct sy_schedule_shape *shape, int rank);
int sy_schedule_delay(const struct sy_schedule_shape *shape, int rank);

#endif
