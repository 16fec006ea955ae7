/* Ops of a dispatch straight into the memory of other ranks (moe/direct.h). See ops.h for what an op is.
 *
 * A token goes to each rank that owns one of its experts once, whatever it has of them there. Its place, the
 * slot, counts the tokens before it that go to that rank. A destination has a window of `max_tokens` slots
 * for each source, so that no count must be known before rows move.
 */
#ifndef SY_OPS_OP_DIRECT_H
#define SY_OPS_OP_DIRECT_H

#include "ops/op_rows.h"

/* First expert of a rank of `size`, and how many it owns: the first E mod size ranks have one more. */
static inline void sy_experts_share(int64_t experts, int64_t rank, int64_t size, int64_t *first, int64_t *n) {
    int64_t base = experts / size, more = experts % size;
    *first = rank * base + (rank < more ? rank : more);
    *n = base + (rank < more);
}

/* For each destination the tokens that go there, ascending, and the first slot of each sequence. */
struct sy_route_slots {
    int64_t sequences, seq_len, experts, top_k, ranks;
    const int32_t *ids; /* [T, K] ascending */
    int32_t *token;     /* [ranks, T] of a slot */
    int64_t *first;     /* [ranks, sequences + 1]; the last: slots */
};

/* What a destination has for one source: pointers into its memory. */
struct sy_window {
    void *rows;          /* [max_tokens, d] stored */
    int32_t *ids, *home; /* [max_tokens, K] the token's experts; the rows of its routes at the source */
    float *w;            /* [max_tokens, K] their weights */
    int64_t *first;      /* [max_sequences + 1] first slot of each of the source's sequences */
};

/* Rows of the slots into the windows, one window a destination; with `ids` also what is said of them. */
struct sy_send_slots {
    int64_t sequences, tokens, top_k, ranks, d;
    const int32_t *token; /* of route_slots, with first */
    const int64_t *first;
    struct sy_mat x;          /* [T, d] stored */
    const int32_t *ids, *row; /* [T, K] or NULL: rows alone */
    const float *w;
    const struct sy_window *to; /* [ranks], the host's */
};

/* What has arrived, as route_sort orders it: routes to this rank's experts by (expert, sequence, slot), the
 * sequences in the order of `source` and `sequence`. A route's number is (source * max_tokens + slot) *
 * K + k. More rows than max_rows: there are none, and *overflow becomes how many there would have been,
 * if it is 0. */
struct sy_route_arrived {
    int64_t ranks, max_tokens, max_sequences, top_k, first_expert, experts, max_rows;
    int64_t sequences;
    const int32_t *source, *sequence; /* [sequences], the host's: rank, and number among its own */
    const int32_t *ids, *home;        /* [ranks, max_tokens, K] of the windows */
    const int64_t *first;             /* [ranks, max_sequences + 1] */
    int64_t *offset;                  /* [experts * sequences + 1] */
    int32_t *route;                   /* [rows], -1: padding */
    int32_t *back;                    /* [rows] home's row of the route */
    struct sy_tile *tile;
    int64_t *n_tiles;
    int64_t *overflow;
};

/* Each row to its source: row back[i] of to[source of route i]. */
struct sy_return_rows {
    int64_t rows, row_bytes, top_k, max_tokens, ranks;
    const int64_t *used;         /* [1] rows that there are */
    const int32_t *route, *back; /* [rows] */
    const void *from;
    void *const *to; /* [ranks], the host's */
};

#endif
