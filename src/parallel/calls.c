/* Which sequences each rank brings to a call: see calls.h. */
#include "parallel/calls.h"

#include <stdlib.h>

struct sy_walk sy_walk_of(const struct sy_mesh *m, int dp_rank, const struct sy_walk *like) {
    struct sy_walk w = *like;
    struct sy_share lanes = sy_mesh_lanes(m, dp_rank);
    w.first_lane = (int)lanes.first;
    w.n_lanes = (int)lanes.n;
    return w;
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t up(int64_t n, int64_t by) { return (n + by - 1) / by; }

/* Sequences of a round: of a rank with a part of a lane group, or one. */
static int64_t round_of(const struct sy_walk *w) { return (int64_t)w->n_lanes * w->cell; }

/* Calls of one group, whose ranks have these walks. */
static void deal(int64_t batch, struct sy_calls *c) {
    int64_t longest = 0, most = 0;
    for (int r = 0; r < c->ranks; r++) {
        longest = larger(longest, sy_walk_length(&c->walk[r]));
        most = larger(most, round_of(&c->walk[r]));
        c->by_rounds |= c->walk[r].n_lanes < c->walk[r].expert_lanes;
    }
    if (c->by_rounds) {
        c->batch = least(larger(batch / most, 1), c->walk[0].rounds);
        c->n = up(c->walk[0].rounds, c->batch);
        c->max_rounds = (int)c->batch;
        c->max_sequences = c->batch * most;
    } else {
        c->batch = c->max_sequences = least(batch, longest);
        c->n = up(longest, c->batch);
        c->max_rounds = 1;
    }
}

static void list_walks(const struct sy_mesh *m, int group, const struct sy_walk *like, struct sy_walk *walk) {
    for (int r = 0; r < m->ep; r++)
        walk[r] = sy_walk_of(m, group * m->ep + r, like);
}

/* This group's, and of all groups the most calls and the least room. */
static void deal_all(const struct sy_mesh *m, const struct sy_walk *like, int64_t batch, struct sy_calls *c) {
    int64_t n = 0, room = INT64_MAX;
    for (int group = 0; group < m->edp; group++) {
        struct sy_calls other = {.ranks = c->ranks, .walk = c->walk};
        list_walks(m, group, like, c->walk);
        deal(batch, &other);
        n = larger(n, other.n);
        room = least(room, other.max_sequences);
    }
    list_walks(m, m->edp_rank, like, c->walk);
    deal(batch, c);
    c->n = n;
    c->least_sequences = room;
}

/* A rank's share of call i. */
static void share_of(const struct sy_calls *c, int rank, int64_t i, int64_t *first, int64_t *n) {
    const struct sy_walk *w = &c->walk[rank];
    int64_t each = c->by_rounds ? c->batch * round_of(w) : c->batch, all = sy_walk_length(w);
    *first = least(i * each, all);
    *n = least(each, all - *first);
}

static void fill(const struct sy_calls *c, int64_t i) {
    int64_t per = (int64_t)c->ranks * c->max_rounds, *of = c->of + i * per;
    struct sy_sink_source *source = c->source + i * per;
    int64_t left = c->walk[0].rounds - i * c->batch;
    int rounds = c->by_rounds && left > 0 ? (int)least(c->batch, left) : 1;
    for (int r = 0; r < c->ranks; r++) {
        int64_t from, all;
        share_of(c, r, i, &from, &all);
        for (int j = 0; j < rounds; j++) {
            of[r * rounds + j] = all / rounds;
            source[j * c->ranks + r] = (struct sy_sink_source){r, from + j * (all / rounds), all / rounds};
        }
    }
    share_of(c, c->rank, i, &c->call[i].first, &c->call[i].n);
    c->call[i].group = (struct sy_group_batch){rounds, of, source, rounds * c->ranks};
}

sy_status sy_calls_init(const struct sy_mesh *m, const struct sy_walk *walk, int64_t batch,
                        struct sy_calls *c) {
    *c = (struct sy_calls){.ranks = m->ep, .rank = m->ep_rank};
    c->walk = calloc((size_t)c->ranks, sizeof *c->walk);
    if (!c->walk)
        SY_FAIL(SY_ERR_MEMORY, "no memory for the walks of %d ranks", c->ranks);
    deal_all(m, walk, batch, c);
    size_t n = (size_t)c->n * (size_t)c->ranks * (size_t)c->max_rounds;
    c->call = calloc((size_t)c->n, sizeof *c->call);
    c->of = calloc(n, sizeof *c->of);
    c->source = calloc(n, sizeof *c->source);
    if (!c->call || !c->of || !c->source) {
        sy_calls_fini(c);
        SY_FAIL(SY_ERR_MEMORY, "no memory for the calls of %d ranks", m->ep);
    }
    for (int64_t i = 0; i < c->n; i++)
        fill(c, i);
    return SY_OK;
}

void sy_calls_fini(struct sy_calls *c) {
    free(c->walk);
    free(c->call);
    free(c->of);
    free(c->source);
    *c = (struct sy_calls){0};
}
