/* The walk: in which order a rank goes through its sequences of a step. A value that fetching, batches,
 * routes and gradients share.
 *
 * A step's batch is P lanes x Q rounds of cells of W sequences; sequence base + (j P + p) W + w is w of cell
 * (p, j). Lanes are in aligned groups of F. A rank has the lanes first_lane .. first_lane + n_lanes - 1,
 * whole groups or a part of one (parallel/mesh.h); place k of its walk:
 *
 *     group by group, round by round, lane by lane of the group, w by w
 */
#ifndef SY_PARALLEL_WALK_H
#define SY_PARALLEL_WALK_H

#include <stdint.h>

struct sy_walk {
    int lanes, expert_lanes, cell; /* P, F, W */
    int64_t rounds;                /* Q */
    int first_lane, n_lanes;       /* this rank's */
    int swapped;                   /* a planted bug: lanes 0 and 1 trade their first round */
};

struct sy_walk_place {
    int64_t lane, round, w;
};

/* Lanes that the rank has of a group. */
static inline int sy_walk_width(const struct sy_walk *w) {
    return w->n_lanes < w->expert_lanes ? w->n_lanes : w->expert_lanes;
}

/* Sequences of this rank. */
static inline int64_t sy_walk_length(const struct sy_walk *w) { return w->n_lanes * w->rounds * w->cell; }

static inline struct sy_walk_place sy_walk_place(const struct sy_walk *w, int64_t k) {
    int64_t f = sy_walk_width(w), cell = w->cell, in_group = k % (f * cell * w->rounds),
            group = k / (f * cell * w->rounds);
    return (struct sy_walk_place){w->first_lane + group * f + in_group / cell % f, in_group / (f * cell),
                                  in_group % cell};
}

/* Sequences of a batch of at most `most`: of a part of a lane group whole rounds, at least one. */
static inline int64_t sy_walk_batch(const struct sy_walk *w, int64_t most) {
    int64_t round = sy_walk_width(w) * w->cell, all = sy_walk_length(w);
    if (w->n_lanes < w->expert_lanes)
        most = most < round ? round : most / round * round;
    return most < all ? most : all;
}

/* The sequence at place k, counted from the step's first. */
static inline int64_t sy_walk_sequence(const struct sy_walk *w, int64_t k) {
    struct sy_walk_place p = sy_walk_place(w, k);
    if (w->swapped && w->lanes > 1 && p.lane < 2 && p.round == 0)
        p.lane ^= 1;
    return (p.round * w->lanes + p.lane) * w->cell + p.w;
}

/* Places of whole lane groups that cover the lanes first .. first + n - 1 of this rank: *from .. *to - 1. */
static inline void sy_walk_places(const struct sy_walk *w, int64_t first, int64_t n, int64_t *from,
                                  int64_t *to) {
    int64_t f = sy_walk_width(w), each = f * w->cell * w->rounds, last = first + n - w->first_lane;
    *from = (first - w->first_lane) / f * each;
    *to = (last + f - 1) / f * each;
    *to = *to < sy_walk_length(w) ? *to : sy_walk_length(w);
}

#endif
