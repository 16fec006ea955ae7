/* Rows between the ranks of an expert-parallel group, so that every sum over an expert's rows runs in the
 * order that it has without ranks.
 *
 *     a rank's rows by          (expert, round, sequence, token)
 *       --all-to-all-->   (rank, expert, round, sequence, token)
 *       --move-->         the owner's rows by (expert, round, rank, sequence, token)
 *
 * A segment is what one rank sends for one (expert, sequence); it moves as one piece of bytes, nothing is
 * added. The first E mod EP ranks own one expert more. Ranks may have different numbers of sequences in a
 * round, or none. Paths:
 *
 *   standard      counts are exchanged, parts have any size
 *   equal         all (rank, expert) counts turned out equal, one round
 *   equal padded  each part is filled at its end with zero rows up to the largest, and compacted on arrival
 *   forced        counts are known in closed form: nothing is exchanged before the rows
 *   direct        straight into the other ranks' memory: direct.h
 *
 * Counts lie with the device and an all-to-all wants them on the host: the standard and equal paths wait for
 * them once, here alone (host_waits); exchange_counts.h says who is told what. The rows that a rank's
 * experts may get have a planned size, and so has a padded message; where a rank needs more, all ranks know
 * it, nothing moves, `most` says how many, and the caller runs again with larger buffers: at once, as the
 * plan is ERR_MEMORY everywhere, or at the end of a step in which no number counts any more (`goes_on`).
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

enum sy_exchange_path {
    SY_PATH_STANDARD,
    SY_PATH_EQUAL,
    SY_PATH_EQUAL_PADDED,
    SY_PATH_FORCED,
    SY_PATH_DIRECT
};

struct sy_exchange_shape {                          /* what buffers are sized for */
    int64_t experts, top_k, seq_len, max_sequences; /* of one rank and call */
    int max_rounds;
    int pad;    /* moe.equal_split = "pad" */
    int direct; /* rows go by the path of that name alone */
    /* Rows that a rank's experts may get, and that a padded message may have, without the padding of
     * segments; 0: every route of every rank, which cannot overflow. */
    int64_t max_rows;
    int goes_on; /* where they do: the plan is OK, for no rows at all; else it is refused */
};

/* Segments of rows, on the device: where each stands in a message and among the owner's rows. */
struct sy_segments {
    int64_t n;
    int64_t *rows, *in_message, *in_place;
};

struct sy_exchange {
    struct sy_comm comm;
    struct sy_exchange_shape shape;
    struct sy_moe_counters *counters; /* the rank's */
    enum sy_exchange_path path;
    int rounds;
    int64_t first_expert, n_experts; /* this rank's */
    /* experts = n_experts, the group's sequences by (round, rank); no row and route */
    struct sy_dispatch received;
    /* (expert, round, rank, sequence) of what comes; (expert, sequence) of what goes */
    struct sy_segments arrived, leaving;
    /* direct: tokens that go to each rank, [size, T], and first slots, [size, sequences + 1]; of the received
     * rows their rows at their sources */
    int32_t *slot_token, *back;
    int64_t *slot_first;
    /* the host's */
    int64_t *sequences; /* [size, max_rounds] */
    /* [size, max_rounds] place of a (round, rank)'s first sequence among the group's */
    int64_t *first_sequence;
    int64_t *first_of_rank; /* [size, max_rounds + 1] and among the rank's own; the last: how many it has */
    int64_t *send_at, *recv_at; /* [size + 1] rows of each rank's part */
    int64_t padded_rows;        /* rows of every part, with padding */
    int64_t most;               /* what max_rows must be for this plan: the same on all ranks */
    int even;                   /* all of this rank's experts get as many rows, and some */
};

/* Buffers of one exchange in flight, for rows up to max_row_bytes. May be shared by plans; not by two in
 * flight. */
struct sy_exchange_buffer {
    int64_t max_row_bytes;
    void *packed, *staging; /* what goes, by destination; what came, by source */
    int64_t *at[2];         /* [size + 1] bytes, the host's: of what goes, of what comes */
    struct sy_comm_request request;
    int64_t row_bytes;
};

/* The host's scratch of a plan: counts, offsets and segments before they are copied. Free for the next plan
 * when this one's rows have been sent, before which the copies are waited for. */
struct sy_exchange_counts {
    int64_t *local;       /* [experts, sequences] routes of this rank */
    int64_t *said, *told; /* messages to and from all ranks (exchange_counts.h) */
    int64_t *at[2];       /* [size + 1] where they stand, in bytes */
    int64_t *next;        /* [size] next row of each rank's part */
    int64_t *offset, *numbers, n_tiles;
    struct sy_tile *tile;
};

/* Whether all of this rank's experts get as many rows. */
static inline int sy_exchange_is_even(const struct sy_exchange *e) { return e->even; }

/* Most rows that a rank can receive: the shape's, or every route of every rank; padding of segments
 * included. */
int64_t sy_exchange_max_rows(const struct sy_exec *x, const struct sy_comm *comm,
                             const struct sy_exchange_shape *shape);

/* The same without padding. */
int64_t sy_exchange_planned(const struct sy_comm *comm, const struct sy_exchange_shape *shape);

/* Rows to plan for: `factor` times what the ranks with the most experts get in a call of the most sequences
 * when all experts get as much; at most every route of every rank. */
int64_t sy_exchange_rows_for(const struct sy_comm *comm, const struct sy_exchange_shape *shape,
                             double factor);

/* Local. The host's memory of a plan and of a buffer. Errors: ERR_MEMORY. fini: {0} is fine. */
sy_status sy_exchange_init(const struct sy_comm *comm, const struct sy_exchange_shape *shape,
                           struct sy_moe_counters *counters, struct sy_exchange *e);
void sy_exchange_fini(struct sy_exchange *e);
sy_status sy_exchange_buffer_init(const struct sy_comm *comm, struct sy_exchange_buffer *b);
void sy_exchange_buffer_fini(struct sy_exchange_buffer *b);
sy_status sy_exchange_counts_init(const struct sy_exec *x, const struct sy_comm *comm,
                                  const struct sy_exchange_shape *shape, struct sy_exchange_counts *c);
void sy_exchange_counts_fini(struct sy_exchange_counts *c);

/* The device's. */
void sy_exchange_take(const struct sy_exec *x, struct sy_arena *a, const struct sy_comm *comm,
                      const struct sy_exchange_shape *shape, struct sy_exchange *e);
void sy_exchange_take_buffer(const struct sy_exec *x, struct sy_arena *a, const struct sy_comm *comm,
                             const struct sy_exchange_shape *shape, int64_t max_row_bytes,
                             struct sy_exchange_buffer *b);

/* Collective. After the local sort. forced: the ids are those of closed forced balance on every rank; with
 * `known` sequences nothing is sent and nothing waited for. Chooses the path and fills `received`. Errors:
 * ERR_MEMORY more rows than planned, of the transport. */
sy_status sy_exchange_plan(const struct sy_exec *x, struct sy_exchange *e, struct sy_exchange_counts *scratch,
                           const struct sy_dispatch *local, const struct sy_sequences *sequences, int forced);

/* Collective. Rows of `row_bytes` from the local order to the owners' expert order (dispatch), and back
 * (combine). What `from` points to stays untouched until the wait. Errors: of the transport. */
sy_status sy_exchange_dispatch_begin(const struct sy_exec *x, const struct sy_exchange *e,
                                     struct sy_exchange_buffer *b, int64_t row_bytes, const void *from);
sy_status sy_exchange_dispatch_wait(const struct sy_exec *x, const struct sy_exchange *e,
                                    struct sy_exchange_buffer *b, void *received);
sy_status sy_exchange_combine_begin(const struct sy_exec *x, const struct sy_exchange *e,
                                    struct sy_exchange_buffer *b, int64_t row_bytes, const void *from,
                                    void *local);
sy_status sy_exchange_combine_wait(const struct sy_exec *x, const struct sy_exchange *e,
                                   struct sy_exchange_buffer *b, void *local);

#endif
