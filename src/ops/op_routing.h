/* Ops of the router and of dispatch and combine. See ops.h for what an op is. */
#ifndef SY_OPS_OP_ROUTING_H
#define SY_OPS_OP_ROUTING_H

#include "ops/op_rows.h"

/* --- routing -------------------------------------------------------------------------------------------- */

enum sy_score_func { SY_ROUTER_SIGMOID, SY_ROUTER_SOFTMAX, SY_ROUTER_TOPK_SOFTMAX };

/* Scores, groups, top-k, weights (NUMERICS 3); equal scores: lower expert id first; -0 equals +0. */
struct sy_router_fwd {
    int64_t tokens, experts, top_k;
    enum sy_score_func score_func;
    int64_t groups, limited_groups; /* 0: none */
    int group_top2_sum;             /* group score: 1 sum of the two largest c, 0 the largest */
    int route_norm;
    float route_scale;
    int64_t seq_len;
    /* forced balance, expert of route k of token i of its sequence = (i K + k) mod E */
    int forced;
    /* [tokens, top_k] ascending ids chosen elsewhere: nothing else chooses; NULL: choose */
    const int32_t *given;
    /* sigmoid, forced or given: s of the chosen alone, +0 elsewhere (router_losses need all) */
    int chosen_only;
    const float *logits;  /* [tokens, experts] */
    const float *bias;    /* [experts] or NULL: chooses, never weighs */
    float *s;             /* [tokens, experts] scores; topk_softmax: s[t, e] of the chosen, +0 elsewhere */
    int32_t *ids;         /* [tokens, top_k], ascending */
    float *w;             /* [tokens, top_k] */
    const int32_t *place; /* [tokens / seq_len] sequence of the step's batch; NULL: 0, 1, ... */
    int64_t layer, layers;
    /* becomes the lowest with a NaN among its logits, if that is lower (struct sy_tally) */
    int64_t *bad_token;
};

struct sy_router_bwd { /* NUMERICS 3 "Router" */
    int64_t tokens, experts, top_k;
    enum sy_score_func score_func;
    int route_norm;
    float route_scale;
    const float *s;
    const int32_t *ids;
    const float *dw;       /* [tokens, top_k] */
    const float *aux;      /* [tokens, experts] added to dl before it is rounded (router_losses), or NULL */
    struct sy_mat dlogits; /* [tokens, experts] stored: BF(dl + aux) */
};

/* Per sequence of S tokens, and so the same in any batch cut between sequences (NUMERICS 3 "Router losses").
 *
 *     balance  p = s / V64(s) (sigmoid), s (softmax), the softmax of all E logits (topk_softmax)
 *              f = fp32(count E / (K S)); P = R64(p) fp32(1/S), plain adds; loss V64(f P)
 *              g = fp32(balance f / S), t = V64(g p), dl = p (g - t); sigmoid: dl = ((g - t) / n) (s (1 - s))
 *     z        lse = m + LOG(V64(EXP(l - m))); loss R64(lse lse) fp32(1/S)
 *              dl = dl + (fp32(2 z / S) lse) (e (1/Z)) */
struct sy_router_losses {
    int64_t sequences, seq_len, experts, top_k;
    enum sy_score_func score_func;
    float balance, z;    /* coefficient / sequences of the global batch; 0: this loss is not computed */
    const float *logits; /* [T, E] */
    const float *s;      /* [T, E] scores of router_fwd */
    const int32_t *ids;  /* [T, K] */
    float *dl;           /* [T, E] gradient of both losses at the logits: written, +0 without any */
    /* [2] balance, z, without weights: += sum over sequences of rint(min(loss, 4096) 2^24); or NULL */
    int64_t *loss;
    /* += sequences with a non-finite logit or loss; neither of their losses is added; NULL with loss */
    int64_t *n_bad;
};

/* Forward's routes against recompute's: *changed becomes the lowest token that differs, if that is lower
 * (struct sy_tally). */
struct sy_routes_equal {
    int64_t tokens, seq_len, top_k;
    const int32_t *was_ids, *ids; /* [T, K] */
    const float *was_w, *w;
    const int32_t *place; /* as in router_fwd */
    int64_t layer, layers;
    int64_t *changed; /* [3] token, the expert that it was, and is */
};

struct sy_count_routes { /* counts[e] += routes to e; *equal += 1 if all experts have as many, and some */
    int64_t tokens, experts, top_k;
    const int32_t *ids;
    int64_t *counts; /* [experts] or NULL */
    int64_t *equal;  /* or NULL */
};

/* The k largest (or smallest) of each row; equal values (and -0, +0): lower index first. A row with a NaN is
 * reported, its ids are 0 .. k-1. A row lies in a thread's scratch: n at most scratch_bytes / 4. */
struct sy_topk {
    int64_t rows, n, k;
    int smallest, sorted; /* sorted: best first, else by ascending index */
    const float *x;       /* [rows, n] */
    float *values;        /* [rows, k] or NULL */
    int32_t *ids;         /* [rows, k] */
    int64_t *bad_row;     /* lowest row with a NaN, or -1 */
};

struct sy_topk_bwd { /* dx[r, ids[r, j]] = dvalues[r, j], +0 elsewhere */
    int64_t rows, n, k;
    const int32_t *ids;   /* [rows, k] distinct in a row */
    const float *dvalues; /* [rows, k] */
    float *dx;            /* [rows, n] */
};

/* A stable counting sort of the routes by (expert, sequence, token). Segments start at multiples of
 * device->segment; the rows between are padding: route -1, rows of +0. */
struct sy_route_sort {
    int64_t sequences, seq_len, experts, top_k;
    const int32_t *ids; /* [T, K] ascending */
    /* [E * sequences + 1]: first row of (expert, sequence); the last one: rows in all */
    int64_t *offset;
    int64_t *count;       /* [E * sequences] routes of each; or NULL */
    int32_t *row;         /* [T, K] row of a route */
    int32_t *route;       /* [rows] route t*K + k of a row, or -1 */
    struct sy_tile *tile; /* tiles of the rows, in order */
    int64_t *n_tiles;
};

/* The same for the ids of forced balance where E divides S K: position e (S K / E) + j of a sequence holds
 * route j E + e. */
struct sy_route_forced {
    struct sy_route_sort sort;
};

/* Rows between the order of a message and that of an owner: rows[i] rows of segment i move from row
 * from_at[i] of `from` to row to_at[i] of `to`. */
struct sy_move_segments {
    int64_t segments, row_bytes;
    const int64_t *rows, *from_at, *to_at; /* [segments] */
    const void *from;
    void *to;
    int64_t clear_rows; /* of `to`, cleared first; 0: none */
};

struct sy_permute { /* y[row] = x[t] (w NULL) or BF(w x[t]); +0 in rows of padding */
    struct sy_rows rows;
    int64_t top_k, d;
    const int32_t *route; /* [rows] */
    const float *w;       /* [T, K] or NULL */
    struct sy_mat x, y;   /* stored [T, d], [rows, d] */
    int64_t tokens;       /* T; with row */
    const int32_t *row;   /* [T, K] where routes went, the same as route says; NULL: not at hand */
};

/* y[t] = BF(sum over k ascending of fma(w, o[row(t,k)], y), + shared last). With groups = C > 0: each of C
 * equal id ranges summed so, BF each, the ranges added ascending in fp32. w NULL: weight 1. Also dispatch
 * backward (shared NULL). */
struct sy_combine {
    int64_t tokens, top_k, d, experts, groups;
    const int32_t *ids, *row; /* [T, K] */
    const float *w;           /* [T, K] or NULL */
    struct sy_mat o;          /* [rows, d] stored */
    struct sy_mat shared;     /* [T, d] stored, or data NULL */
    struct sy_mat y;          /* [T, d] stored */
};

struct sy_gather_f32 { /* y[i] = x[index[i]], +0 where index[i] is negative: one float a row */
    int64_t n;
    const int64_t *used; /* [1] or NULL: as in scatter_add */
    const int32_t *index;
    const float *x;
    float *y;
};

struct sy_rowdot { /* y[r] = V64(a b), fp32 */
    struct sy_rows rows;
    int64_t d;
    struct sy_mat a, b; /* stored */
    float *y;           /* [rows] */
};

#endif
