/* Rows between the ranks of an expert-parallel group, so that every sum over an expert's rows runs in the
 * order that it has without ranks.
 *
 *     rank's rows by (expert, round, sequence, token)   --all-to-all-->
 *     (rank, expert, round, sequence, token)            --permute-->
 *     the owner's rows by (expert, round, rank, sequence, token)
 *
 * A segment is what one rank sends for one (expert, round); it moves as one piece of bytes, nothing is
 * added. The first E mod EP ranks own one expert more. Ranks may have different numbers of sequences in a
 * round, or none. Paths:
 *
 *   standard      counts are exchanged, parts have any size
 *   equal         all (rank, expert) counts turned out equal, one round: the permute transposes blocks
 *   equal padded  each part is filled at its end with zero rows up to the largest part of all, and
 *                 compacted on arrival
 *   forced        counts are known in closed form: nothing is exchanged before the rows
 *
 * Rows that a rank receives have a planned size. A plan that needs more on any rank says so on all of them:
 * then nothing may be moved, and the caller plans again with larger buffers. The host reads what the sort
 * counted in one place, read_offsets of exchange_plan.c, and only where counts are exchanged.
 *
 * The plan (struct sy_exchange) is a value that lives as long as its micro-batch; the buffers (struct
 * sy_exchange_buffer) are used between a begin and its wait alone.
 */
#ifndef SY_MOE_EXCHANGE_H
#define SY_MOE_EXCHANGE_H

#include "comm/comm.h"
#include "moe/dispatch.h"

/* How the sequences of a call lie in rounds, in this order. */
struct sy_sequences {
    int rounds;        /* 1..max_rounds */
    const int64_t *of; /* [rounds] of this rank; known: [size, rounds] of all ranks, the same on each */
    int known;
};

enum sy_exchange_path { SY_PATH_STANDARD, SY_PATH_EQUAL, SY_PATH_EQUAL_PADDED, SY_PATH_FORCED };

struct sy_exchange_shape { /* what buffers are sized for */
    int64_t experts, top_k, seq_len, max_sequences;
    int max_rounds;
    int pad;          /* moe.equal_split = "pad" */
    int64_t max_rows; /* that a rank can receive: sy_exchange_planned_rows; 0: every route of every rank */
};

struct sy_exchange {
    struct sy_comm comm;
    struct sy_exchange_shape shape;
    enum sy_exchange_path path;
    int rounds;
    int64_t first_expert, n_experts; /* this rank's */
    /* experts = n_experts, the group's sequences by (round, rank); offset and rows alone */
    struct sy_dispatch received;
    int64_t *sequences;      /* [size, max_rounds] */
    int64_t *first_sequence; /* [size, max_rounds] place of a (round, rank)'s first among the group's */
    int64_t *first_of_rank; /* [size, max_rounds + 1] and among the rank's own; the last: how many it has */
    int64_t *segment_from;  /* [n_experts, rounds, size] row of a segment in its rank's part */
    int64_t *send_at, *recv_at; /* [size + 1] rows of each rank's part */
    int64_t padded_rows;        /* rows of every part, with padding */
    int64_t block_rows;         /* equal: rows of a (rank, expert) */
    int64_t needed_rows;        /* of the fullest rank, its padding included; the same on all */
    int overflow;               /* that is more than the buffers are for: nothing may be moved */
};

/* Buffers of one exchange in flight, for rows up to max_row_bytes. May be shared by plans; not by two in
 * flight. */
struct sy_exchange_buffer {
    int64_t max_row_bytes;
    void *staging, *padded;
    int64_t *at[2]; /* [size + 1] bytes: of what is sent, of what arrives */
    struct sy_comm_request request;
    int64_t row_bytes;
};

/* Scratch of a plan: the sort's offsets as the host reads them, every rank's counts. */
struct sy_exchange_counts {
    int64_t *offset, *mine, *all;
};

/* First expert of a rank, and how many it owns. */
void sy_exchange_share(int64_t experts, int rank, int size, int64_t *first, int64_t *n);

/* What a rank tells of itself, in numbers: sequences of each round, then routes of each (expert, sequence). */
static inline int64_t sy_exchange_message_length(const struct sy_exchange_shape *s) {
    return s->max_rounds + s->experts * s->max_sequences;
}

static inline int64_t sy_exchange_sequences_of(const struct sy_exchange *e, int rank, int round) {
    return e->sequences[rank * e->shape.max_rounds + round];
}

/* Rows of the segment (expert, round, rank) that this rank receives; its first is at
 * received.offset[expert * received.sequences + first_sequence of (rank, round)]. */
static inline int64_t sy_exchange_segment_rows(const struct sy_exchange *e, int64_t expert, int round,
                                               int rank) {
    const struct sy_dispatch *d = &e->received;
    const int64_t *at =
        d->offset + expert * d->sequences + e->first_sequence[rank * e->shape.max_rounds + round];
    return at[sy_exchange_sequences_of(e, rank, round)] - at[0];
}

/* Rows that the fullest rank receives when all routes are balanced over experts, times `factor`; at most,
 * and with factor 0, every route of every rank. */
int64_t sy_exchange_planned_rows(const struct sy_comm *comm, const struct sy_exchange_shape *shape,
                                 double factor);

/* Rows that buffers are for. On one rank nothing is received: those of its own routes. */
int64_t sy_exchange_max_rows(const struct sy_comm *comm, const struct sy_exchange_shape *shape);

void sy_exchange_take(struct sy_arena *a, const struct sy_comm *comm, const struct sy_exchange_shape *shape,
                      struct sy_exchange *e);
void sy_exchange_take_counts(struct sy_arena *a, const struct sy_comm *comm,
                             const struct sy_exchange_shape *shape, struct sy_exchange_counts *counts);
void sy_exchange_take_buffer(struct sy_arena *a, const struct sy_comm *comm,
                             const struct sy_exchange_shape *shape, int64_t max_row_bytes,
                             struct sy_exchange_buffer *b);

/* Collective. After the local sort. forced: the ids are those of closed forced balance on every rank; with
 * `known` sequences nothing is sent. Chooses the path and fills `received`; or OK with `overflow`, and no
 * path is counted. Errors: ERR_PEER. */
sy_status sy_exchange_plan(struct sy_exchange *e, const struct sy_exchange_counts *scratch,
                           const struct sy_dispatch *local, const struct sy_sequences *sequences,
                           int forced, struct sy_moe_counters *counters);

/* Collective. Rows of `row_bytes` from the local order to the owners' expert order (dispatch), and back
 * (combine). What `from` points to stays untouched until the wait. Errors: ERR_PEER; after a begin that
 * failed there is nothing to wait for. */
sy_status sy_exchange_dispatch_begin(const struct sy_exchange *e, struct sy_exchange_buffer *b,
                                     int64_t row_bytes, const void *from, struct sy_moe_counters *counters);
sy_status sy_exchange_dispatch_wait(const struct sy_exec *x, const struct sy_exchange *e,
                                    struct sy_exchange_buffer *b, void *received);
sy_status sy_exchange_combine_begin(const struct sy_exec *x, const struct sy_exchange *e,
                                    struct sy_exchange_buffer *b, int64_t row_bytes, const void *from,
                                    void *local, struct sy_moe_counters *counters);
sy_status sy_exchange_combine_wait(const struct sy_exchange *e, struct sy_exchange_buffer *b, void *local);

#endif
