/* Where weight gradients go. The model never sums over sequences: it hands the rows, the sink knows lanes,
 * rounds and ranks and applies leaf, fold and tree (NUMERICS 4; parallel/gradients.h implements it).
 *
 * Each call says which sequences its rows are of: their places in the step's walk (parallel/walk.h). What a
 * call hands over stays untouched until flush has returned.
 */
#ifndef SY_MODEL_SINK_H
#define SY_MODEL_SINK_H

#include "ops/ops.h"

struct sy_span { /* n whole sequences of seq_len tokens, at places first .. first + n - 1 of the walk */
    int64_t first, n, seq_len;
};

/* n sequences of a rank of the expert-parallel group, at places first .. first + n - 1 of its walk. */
struct sy_sink_source {
    int rank;
    int64_t first, n;
};

struct sy_sink_experts { /* of one layer: all experts that this rank owns, W1 | W3 and W2 */
    int layer;
    int64_t first_expert;
    struct sy_rows rows; /* by (expert, sequence) */
    /* whose sequences these are, in order; NULL: the span's, of this rank */
    const struct sy_sink_source *source;
    int n_sources;
    struct sy_mat dgu, x; /* [rows, 2F], [rows, D] */
    struct sy_mat dy, h;  /* [rows, D], [rows, F] */
};

/* A piece of one sequence, tokens from .. from + n - 1, in token order; ends at its end or at a multiple
 * of KB. */
struct sy_sink_piece {
    int64_t place, seq_len, from, n;
    int param;
    struct sy_mat dy, x;
};

struct sy_sink_vector { /* R64 over (token, head) of a * (x * r); x.data NULL: of a */
    int param;
    int64_t heads;
    struct sy_heads a, x;
    const float *r;
};

struct sy_grad_sink {
    void *self;
    /* dW = CHAIN over the span's tokens of (dy, x): dy [T, rows], x [T, cols]. */
    void (*matrix)(void *self, const struct sy_span *at, int param, struct sy_mat dy, struct sy_mat x);
    void (*piece)(void *self, const struct sy_sink_piece *p); /* done when the call returns */
    void (*experts)(void *self, const struct sy_span *at, const struct sy_sink_experts *e);
    void (*vector)(void *self, const struct sy_span *at, const struct sy_sink_vector *v);
    void (*embedding)(void *self, const struct sy_span *at, const int32_t *ids, struct sy_mat dy);
    /* What was handed over is used: once a layer. */
    void (*flush)(void *self);
};

#endif
