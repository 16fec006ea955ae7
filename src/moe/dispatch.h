/* Dispatch and combine on one process: the local path.
 *
 * A handle is a value that says where each route's row lies: rows of an expert stand together, inside by (sequence, token).
 * dispatch sorts and gathers, combine gathers back and adds in ascending expert id; the backward of one is the other.
 */
#ifndef SY_MOE_DISPATCH_H
#define SY_MOE_DISPATCH_H

#include "base/arena.h"
#include "ops/ops.h"

struct sy_dispatch {
    int64_t sequences, seq_len, tokens, experts, top_k, rows; /* rows = tokens * top_k */
    int64_t combine_groups;
    const int32_t *ids; /* [T, K] ascending */
    int64_t *offset;    /* [E * sequences + 1] first row of (expert, sequence) */
    int32_t *row;       /* [T, K] */
    int32_t *route;     /* [N] */
};

/* Carves the handle's arrays for up to max_sequences of seq_len tokens. */
void sy_dispatch_take(struct sy_arena *a, int64_t max_sequences, int64_t seq_len, int64_t experts, int64_t top_k,
                      struct sy_dispatch *d);

/* Fills the places for a batch of `sequences` with these ids. */
void sy_dispatch_sort(const struct sy_exec *x, struct sy_dispatch *d, int64_t sequences, const int32_t *ids);

/* First row of expert e; of E it is N. */
static inline int64_t sy_dispatch_first(const struct sy_dispatch *d, int64_t e) { return d->offset[e * d->sequences]; }

/* rows[row] = x[token] or BF(w x[token]): [T, width] to [N, width]. */
void sy_dispatch_rows(const struct sy_exec *x, const struct sy_dispatch *d, int64_t width, const float *w,
                      struct sy_mat tokens, struct sy_mat rows);

/* y[T] = BF(sum over a token's experts ascending of fma(w, rows, y), + shared). w NULL: 1; shared.data NULL: none. */
void sy_dispatch_combine(const struct sy_exec *x, const struct sy_dispatch *d, int64_t width, const float *w,
                         struct sy_mat rows, struct sy_mat shared, struct sy_mat y);

/* One float a route: [T, K] order to row order, and back. */
void sy_dispatch_to_rows(const struct sy_exec *x, const struct sy_dispatch *d, const float *routes, float *rows);
void sy_dispatch_to_routes(const struct sy_exec *x, const struct sy_dispatch *d, const float *rows, float *routes);

#endif
