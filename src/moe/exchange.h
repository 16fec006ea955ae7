/* Rows between the ranks of an expert-parallel group: the standard path, counts and an all-to-all.
 *
 *     rank's rows by (expert, sequence, token)  --all-to-all-->  (rank, expert, sequence, token)  --permute-->
 *     the owner's rows by (expert, rank, sequence, token): the order of one process that has all sequences, rank after rank
 *
 * so that every sum over an expert's rows runs in the order that it has without ranks. The first E mod EP ranks own one
 * expert more. Ranks may have different numbers of sequences, or none. `received` is a handle like that of local dispatch,
 * for the experts of this rank and the sequences of all ranks. Rows move as bytes: nothing is added.
 */
#ifndef SY_MOE_EXCHANGE_H
#define SY_MOE_EXCHANGE_H

#include "comm/comm.h"
#include "moe/dispatch.h"

struct sy_exchange {
    struct sy_comm comm;
    int64_t experts, max_sequences;  /* of all; of a rank */
    int64_t first_expert, n_experts; /* this rank's */
    struct sy_dispatch received;     /* experts = n_experts, sequences of all ranks in rank order; offset and rows alone */
    int64_t *counts;                 /* [size, E * max_sequences] routes of (rank, expert, sequence) */
    int64_t *mine;                   /* [E * max_sequences] */
    int64_t *sequences;              /* [size] */
    int64_t *send_at, *recv_at;      /* [size + 1] rows, then bytes */
    int64_t *send_bytes, *recv_bytes;
    int32_t *place; /* [received.rows] row of the expert order for a row as it arrived */
    void *staging;  /* [max received rows * max_row_bytes] */
    int64_t max_rows, max_row_bytes;
};

/* First expert of a rank, and how many it owns. */
void sy_exchange_share(int64_t experts, int rank, int size, int64_t *first, int64_t *n);

/* Carves buffers. A rank may receive every route of every rank: size * max_sequences * seq_len * top_k rows at most. */
void sy_exchange_take(struct sy_arena *a, const struct sy_comm *comm, int64_t experts, int64_t max_sequences,
                      int64_t seq_len, int64_t top_k, int64_t max_row_bytes, struct sy_exchange *e);

/* Collective. Agrees on counts after sy_dispatch_sort; fills `received` and the places. */
void sy_exchange_plan(struct sy_exchange *e, const struct sy_dispatch *local);

/* Collective. Rows of `row_bytes` in the local dispatch's order to the owners' expert order, and back. */
void sy_exchange_dispatch(struct sy_exchange *e, int64_t row_bytes, const void *local, void *received);
void sy_exchange_combine(struct sy_exchange *e, int64_t row_bytes, const void *received, void *local);

#endif
