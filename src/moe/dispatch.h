/* Dispatch and combine within one rank.
 *
 * A handle is a value that says where each route's row lies: rows of an expert stand together, inside by
 * (sequence, token), the sequences in the order of the call: round by round. dispatch sorts and gathers,
 * combine gathers back and adds in ascending expert id; the backward of one is the other. Under forced
 * balance the places have a closed form: nothing is counted and nothing sorted. What the arrays hold only ops
 * know; the host knows how many rows there are at most.
 */
#ifndef SY_MOE_DISPATCH_H
#define SY_MOE_DISPATCH_H

#include "device/carve.h"
#include "moe/counters.h"
#include "ops/ops.h"

struct sy_dispatch {
    int64_t sequences, seq_len, tokens, experts, top_k;
    int64_t rows; /* at most, padding of segments included */
    int64_t combine_groups;
    const int32_t *ids; /* [T, K] ascending */
    int64_t *offset;    /* [E * sequences + 1] first row of (expert, sequence) */
    /* [E * sequences] rows of each without padding, where ranks must tell them; or NULL */
    int64_t *count;
    int32_t *row;   /* [T, K] */
    int32_t *route; /* [rows], -1: padding */
    struct sy_tile *tile;
    int64_t *n_tiles;
};

/* Most rows of `routes` routes in `segments` segments of (expert, sequence). */
static inline int64_t sy_dispatch_most_rows(const struct sy_exec *x, int64_t routes, int64_t segments) {
    return routes + segments * (x->device->segment - 1);
}
static inline int64_t sy_dispatch_most_tiles(int64_t rows, int64_t experts) {
    return rows / SY_TILE_ROWS + experts;
}

/* Carves the handle's arrays. */
struct sy_dispatch_bounds {
    int64_t max_sequences, max_tokens; /* of them in all */
    int64_t experts, top_k;
};
void sy_dispatch_take(const struct sy_exec *x, struct sy_arena *a, const struct sy_dispatch_bounds *bounds,
                      struct sy_dispatch *d);

/* Fills the places for a batch of `sequences` of seq_len tokens with these ids. */
void sy_dispatch_sort(const struct sy_exec *x, struct sy_dispatch *d, int64_t sequences, int64_t seq_len,
                      const int32_t *ids);

/* Whether forced balance gives every expert the same number of a sequence's routes: E divides S K. */
static inline int sy_dispatch_is_closed(int64_t seq_len, int64_t experts, int64_t top_k) {
    return seq_len * top_k % experts == 0;
}
/* As sort, for the ids of forced balance, when they are closed. */
void sy_dispatch_forced(const struct sy_exec *x, struct sy_dispatch *d, int64_t sequences, int64_t seq_len,
                        const int32_t *ids);

/* The rows by (expert, sequence), as products take them. */
static inline struct sy_rows sy_dispatch_rows_of(const struct sy_dispatch *d) {
    return (struct sy_rows){.groups = d->experts,
                            .sequences = d->sequences,
                            .max_rows = d->rows,
                            .offset = d->offset,
                            .tile = d->tile,
                            .n_tiles = d->n_tiles};
}

/* The same rows by name, for products that gather: no copy of theirs is made. */
static inline struct sy_named_rows sy_dispatch_names(const struct sy_dispatch *d) {
    return (struct sy_named_rows){d->route, d->top_k};
}

/* rows[row] = x[token] or BF(w x[token]): [T, width] to [rows, width]. */
void sy_dispatch_rows(const struct sy_exec *x, const struct sy_dispatch *d, int64_t width, const float *w,
                      struct sy_mat tokens, struct sy_mat rows);

/* y[T] = BF(sum over a token's experts ascending of fma(w, rows, y), + shared). */
struct sy_dispatch_sum {
    int64_t width;
    const float *w;       /* [T, K]; NULL: 1 */
    struct sy_mat rows;   /* [rows, width] */
    struct sy_mat shared; /* [T, width]; data NULL: none */
    struct sy_mat y;      /* [T, width] */
};
void sy_dispatch_combine(const struct sy_exec *x, const struct sy_dispatch *d,
                         const struct sy_dispatch_sum *sum);

/* The same bits by scatter-add, rows ascending; without combine_groups. In place into y when y is fp32 and
 * overlaps neither the rows nor `protect` (what backward reads), else by way of `spare`. */
struct sy_scatter {
    float *scale;        /* [rows] scratch: weight of a row */
    float *spare;        /* [T, width] scratch */
    const void *protect; /* may be NULL */
    size_t protect_bytes;
};
void sy_dispatch_scatter(const struct sy_exec *x, const struct sy_dispatch *d,
                         const struct sy_dispatch_sum *sum, const struct sy_scatter *s,
                         struct sy_moe_counters *counters);

/* One float a route: [T, K] order to row order, and back. */
void sy_dispatch_to_rows(const struct sy_exec *x, const struct sy_dispatch *d, const float *routes,
                         float *rows);
void sy_dispatch_to_routes(const struct sy_exec *x, const struct sy_dispatch *d, const float *rows,
                           float *routes);

#endif
