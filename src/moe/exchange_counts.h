/* What ranks tell each other before rows move, and who reads it: a part of the plan of an exchange.
 *
 * A rank tells each other rank how many routes it has for each (expert of that rank, sequence), and nobody
 * else. All are told, before that: its sequences of each round, its routes to each rank, and what its experts
 * get at least and at most: from these all ranks choose the same path, and know the same bounds.
 *
 *     sequences [max_rounds] | routes to each rank [size] | least, most | counts [experts, max_sequences]
 */
#ifndef SY_MOE_EXCHANGE_COUNTS_H
#define SY_MOE_EXCHANGE_COUNTS_H

#include "moe/exchange.h"

/* Adds to the counters what this rank sends to others in an all-to-all: at [size + 1]. */
void sy_exchange_count_bytes(const struct sy_exchange *e, const int64_t *at);

static inline int64_t sy_counts_header(const struct sy_comm *comm, const struct sy_exchange_shape *s) {
    return s->max_rounds + comm->size + 2;
}
/* Numbers that a rank with n experts is told. */
static inline int64_t sy_counts_length(const struct sy_comm *comm, const struct sy_exchange_shape *s,
                                       int64_t n) {
    return sy_counts_header(comm, s) + n * s->max_sequences;
}

/* What rank r has told this one. */
static inline int64_t *sy_counts_told(const struct sy_exchange *e, const struct sy_exchange_counts *c,
                                      int r) {
    return c->told + r * sy_counts_length(&e->comm, &e->shape, e->n_experts);
}
static inline int64_t *sy_counts_sequences(const struct sy_exchange *e, const struct sy_exchange_counts *c,
                                           int r) {
    return sy_counts_told(e, c, r);
}
/* Routes of rank `from` to each rank. */
static inline int64_t *sy_counts_parts(const struct sy_exchange *e, const struct sy_exchange_counts *c,
                                       int from) {
    return sy_counts_told(e, c, from) + e->shape.max_rounds;
}
static inline int64_t *sy_counts_extremes(const struct sy_exchange *e, const struct sy_exchange_counts *c,
                                          int r) {
    return sy_counts_parts(e, c, r) + e->comm.size;
}
/* Routes of a rank to one of this rank's experts, of each of its sequences. */
static inline int64_t *sy_counts_of(const struct sy_exchange *e, const struct sy_exchange_counts *c, int r,
                                    int64_t expert) {
    return sy_counts_extremes(e, c, r) + 2 + expert * e->shape.max_sequences;
}

/* Collective. Reads this rank's counts into c->local [experts, sequences], the one wait of the host for
 * counts, and fills c->told. */
sy_status sy_counts_exchange(const struct sy_exec *x, struct sy_exchange *e, struct sy_exchange_counts *c,
                             const struct sy_dispatch *d, const struct sy_sequences *sequences);

/* Local. What that would have brought under closed forced balance, from sequences that all ranks know. */
void sy_counts_close(const struct sy_exchange *e, struct sy_exchange_counts *c,
                     const struct sy_sequences *sequences);

/* Local. As if nobody had a route. */
void sy_counts_clear(const struct sy_exchange *e, struct sy_exchange_counts *c);

#endif
