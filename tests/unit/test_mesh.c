/* The mesh: every admissible one up to 16 ranks and 12 lanes, against what NUMERICS 5 says in words; what is
 * refused; the groups of ranks as threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "parallel/mesh.h"

enum { MOST_LANES = 12, MOST_RANKS = 16, MOST_EXPERTS = 9 };

static struct sy_config *config_of(void) {
    struct sy_config *c;
    assert_int_equal(sy_config_create(&c), SY_OK);
    c->model.n_layers = 32;
    c->moe.num_experts = 8;
    return c;
}

static void set(struct sy_config *c, int pp, int replicate, int shard, int ep) {
    c->parallelism.pipeline_parallel_degree = pp;
    c->parallelism.data_parallel_replicate_degree = replicate;
    c->parallelism.data_parallel_shard_degree = shard;
    c->parallelism.expert_parallel_degree = ep;
}

/* --- lanes ---------------------------------------------------------------------------------------------- */

/* Lanes of each rank by dealing cards: items one after the other, to the first that has least. */
static void deal_out(int items, int hands, int *of_hand) {
    memset(of_hand, 0, (size_t)hands * sizeof *of_hand);
    for (int i = 0; i < items; i++)
        of_hand[i % hands]++;
}

/* n [dp] lanes of each rank; 0 if this cannot be. */
static int expect_lanes(int lanes, int f, int dp, int ep, int *n) {
    int edp = dp / ep, groups = lanes / f, of_edp[MOST_RANKS], of_rank[MOST_RANKS], ranks[MOST_RANKS];
    if (groups < edp)
        return 0; /* a lane group would be cut by expert-parallel groups */
    deal_out(groups, edp, of_edp);
    for (int e = 0, r = 0; e < edp; e++) {
        if (of_edp[e] >= ep) {
            deal_out(of_edp[e], ep, of_rank);
            for (int i = 0; i < ep; i++)
                n[r++] = of_rank[i] * f;
            continue;
        }
        deal_out(ep, of_edp[e], ranks);
        for (int g = 0; g < of_edp[e]; g++) {
            deal_out(f, ranks[g], of_rank);
            for (int i = 0; i < ranks[g]; i++)
                n[r++] = of_rank[i];
        }
    }
    for (int r = 0; r < dp; r++)
        if (n[r] == 0)
            return 0;
    return 1;
}

static void check_lanes(const struct sy_mesh *m, const int *n) {
    int next = 0, f = m->expert_lanes;
    for (int r = 0; r < m->dp; r++) {
        struct sy_share own = sy_mesh_lanes(m, r);
        assert_true(own.first == next && own.n == n[r]);
        next += n[r];
        int whole = own.first % f == 0 && own.n % f == 0;
        int part = own.n < f && own.first / f == (own.first + own.n - 1) / f;
        assert_true(whole || part);
        if (r % m->ep == 0) /* an expert-parallel group begins: so does a lane group */
            assert_int_equal(own.first % f, 0);
    }
    assert_int_equal(next, m->lanes);
}

static void every_lane(void **state) {
    (void)state;
    struct sy_config *c = config_of();
    int n[MOST_LANES + MOST_RANKS], admitted = 0, refused = 0;
    for (int lanes = 1; lanes <= MOST_LANES; lanes++)
        for (int f = 1; f <= lanes; f++)
            for (int dp = 1; lanes % f == 0 && dp <= MOST_RANKS; dp++)
                for (int ep = 1; ep <= dp; ep++) {
                    struct sy_mesh m;
                    if (dp % ep)
                        continue;
                    c->numerics.lanes = lanes;
                    c->numerics.expert_lanes = f;
                    set(c, 1, 1, -1, ep);
                    int can = expect_lanes(lanes, f, dp, ep, n);
                    assert_int_equal(sy_mesh_create(c, dp, 0, &m), can ? SY_OK : SY_ERR_USAGE);
                    if (can)
                        check_lanes(&m, n);
                    *(can ? &admitted : &refused) += 1;
                }
    assert_true(admitted > 300 && refused > 300);
    sy_config_destroy(c);
}

static void known_lanes(void **state) {
    (void)state;
    static const struct {
        int lanes, f, dp, ep, n[8];
    } known[] = {{8, 2, 3, 1, {4, 2, 2}},          {8, 1, 3, 1, {3, 3, 2}},
                 {8, 8, 3, 3, {3, 3, 2}},          {8, 8, 8, 8, {1, 1, 1, 1, 1, 1, 1, 1}},
                 {8, 4, 4, 4, {2, 2, 2, 2}},       {8, 4, 3, 3, {2, 2, 4}},
                 {8, 1, 6, 2, {2, 1, 2, 1, 1, 1}}, {12, 4, 6, 3, {2, 2, 4, 2, 1, 1}}};
    struct sy_config *c = config_of();
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct sy_mesh m;
        c->numerics.lanes = known[i].lanes;
        c->numerics.expert_lanes = known[i].f;
        set(c, 1, 1, -1, known[i].ep);
        assert_int_equal(sy_mesh_create(c, known[i].dp, 0, &m), SY_OK);
        for (int r = 0; r < known[i].dp; r++)
            assert_int_equal(sy_mesh_lanes(&m, r).n, known[i].n[r]);
    }
    sy_config_destroy(c);
}

/* --- axes, experts, layers ------------------------------------------------------------------------------ */

static void check_ranks(struct sy_config *c, int world) {
    int seen[MOST_RANKS] = {0};
    for (int rank = 0; rank < world; rank++) {
        struct sy_mesh m;
        assert_int_equal(sy_mesh_create(c, world, rank, &m), SY_OK);
        assert_true(m.pp * m.dp == world && m.replicate * m.shard == m.dp && m.edp * m.ep == m.dp);
        assert_int_equal(m.pp_rank * m.dp + m.dp_rank, rank);
        assert_int_equal(m.edp_rank * m.ep + m.ep_rank, m.dp_rank);
        assert_int_equal(m.replicate_rank * m.shard + m.shard_rank, m.dp_rank);
        assert_true(m.pp_rank < m.pp && m.ep_rank < m.ep && m.shard_rank < m.shard);
        seen[rank]++;
    }
    for (int rank = 0; rank < world; rank++)
        assert_int_equal(seen[rank], 1);
}

static void every_rank(void **state) {
    (void)state;
    struct sy_config *c = config_of();
    c->numerics.lanes = MOST_RANKS;
    c->numerics.expert_lanes = 1;
    for (int world = 1; world <= MOST_RANKS; world++)
        for (int pp = 1; pp <= world; pp++)
            for (int replicate = 1; replicate <= world; replicate++)
                for (int ep = 1; ep <= world; ep++) {
                    struct sy_mesh m;
                    int fits = world % (pp * replicate) == 0 && (world / pp) % ep == 0;
                    set(c, pp, replicate, -1, ep);
                    if (fits)
                        check_ranks(c, world);
                    else
                        assert_int_equal(sy_mesh_create(c, world, 0, &m), SY_ERR_USAGE);
                    set(c, pp, replicate, world / (pp * replicate), ep); /* said outright, the same */
                    if (fits)
                        check_ranks(c, world);
                }
    sy_config_destroy(c);
}

static void experts_and_layers(void **state) {
    (void)state;
    struct sy_config *c = config_of();
    c->numerics.lanes = MOST_RANKS;
    c->numerics.expert_lanes = 1;
    for (int ep = 1; ep <= MOST_RANKS; ep++)
        for (int experts = 1; experts <= MOST_EXPERTS; experts++) {
            struct sy_mesh m;
            int n[MOST_RANKS], next = 0;
            c->moe.num_experts = experts;
            set(c, 1, 1, -1, ep);
            assert_int_equal(sy_mesh_create(c, ep, 0, &m), SY_OK);
            deal_out(experts, ep, n);
            for (int r = 0; r < ep; r++) {
                struct sy_share own = sy_mesh_experts(&m, r);
                assert_true(own.first == next && own.n == n[r]);
                next += n[r];
            }
            assert_int_equal(next, experts);
        }
    for (int layers = 1; layers <= 9; layers++)
        for (int pp = 1; pp <= 6; pp++)
            for (int interleaved = 0; interleaved < 2; interleaved++) {
                struct sy_mesh m;
                int n[2 * MOST_RANKS], next = 0, stages = pp == 1 ? 1 : interleaved ? 2 * pp : pp;
                c->model.n_layers = layers;
                c->parallelism.pipeline_parallel_schedule =
                    interleaved ? SY_SCHEDULE_INTERLEAVED_1F1B : SY_SCHEDULE_1F1B;
                set(c, pp, 1, -1, 1);
                /* embedding and head stand for a layer each */
                assert_int_equal(sy_mesh_create(c, pp, 0, &m), stages > layers + 2 ? SY_ERR_USAGE : SY_OK);
                if (stages > layers + 2)
                    continue;
                assert_int_equal(m.stages.n, stages);
                deal_out(layers + 2 * (pp > 1), stages, n);
                n[0] -= pp > 1;
                n[stages - 1] -= pp > 1;
                for (int s = 0; s < stages; s++) {
                    struct sy_share own = sy_mesh_layers(&m, s);
                    assert_true(own.first == next && own.n == n[s]);
                    next += n[s];
                }
                assert_int_equal(next, layers);
            }
    sy_config_destroy(c);
}

/* --- refusals ------------------------------------------------------------------------------------------- */

static void says(struct sy_config *c, int world, const char *message) {
    struct sy_mesh m;
    assert_int_equal(sy_mesh_create(c, world, 0, &m), SY_ERR_USAGE);
    assert_string_equal(sy_error_message(), message);
}

static void refusals(void **state) {
    (void)state;
    struct sy_config *c = config_of();
    c->numerics.lanes = 8;
    c->numerics.expert_lanes = 4;
    set(c, 1, 1, -1, 1);
    says(c, 9,
         "default: numerics.lanes = 8: P = 8 lanes (numerics.lanes) in groups of F = 4 "
         "(numerics.expert_lanes), DP = 9 "
         "data-parallel, EP = 1 expert-parallel ranks: a rank would have no lane: use at most 8 "
         "data-parallel ranks");
    says(
        c, 3,
        "default: parallelism.expert_parallel_degree = 1: P = 8 lanes (numerics.lanes) in groups of F = 4 "
        "(numerics.expert_lanes), DP = 3 data-parallel, EP = 1 expert-parallel ranks: a lane group would lie "
        "in two of the 3 expert-parallel groups: at most P / F = 2 of them, so EP at least 2 here");
    c->numerics.lanes = 10;
    c->numerics.expert_lanes = 2;
    set(c, 1, 1, -1, 5);
    says(c, 10,
         "default: parallelism.expert_parallel_degree = 5: P = 10 lanes (numerics.lanes) in groups of F = 2 "
         "(numerics.expert_lanes), DP = 10 data-parallel, EP = 5 expert-parallel ranks: an expert-parallel "
         "group with 2 lane groups has 4 lanes for its ranks, dealt group by group: a rank would have none; "
         "choose a smaller EP or fewer ranks");
    set(c, 2, 1, -1, 2);
    says(c, 6,
         "default: parallelism.expert_parallel_degree = 2: does not divide the 3 data-parallel ranks (DP): "
         "choose one "
         "that does");
    set(c, 2, 2, -1, 1);
    says(c, 6,
         "default: parallelism.data_parallel_replicate_degree = 2: times "
         "parallelism.pipeline_parallel_degree = 2 is 4 "
         "and does not divide the 6 ranks: choose degrees that do");
    set(c, 2, 1, 2, 1);
    says(c, 6,
         "default: parallelism.data_parallel_shard_degree = 2: replicate 1 x shard 2 x pipeline 2 are not "
         "the 6 "
         "ranks: choose degrees whose product is that (shard -1: what is left)");
    set(c, 1 << 16, 1 << 20, 1 << 20, 1);
    says(c, 6,
         "default: parallelism.data_parallel_shard_degree = 1048576: replicate 1048576 x shard 1048576 x "
         "pipeline "
         "65536 are not the 6 ranks: choose degrees whose product is that (shard -1: what is left)");
    c->model.n_layers = 3;
    set(c, 6, 1, -1, 1);
    says(c, 6,
         "default: parallelism.pipeline_parallel_degree = 6: 6 stages (1 a rank) of model.n_layers = 3, of "
         "which "
         "the first has 1 less and the last 1 (pipeline_parallel_first_stage_less_layers, _last_): too few "
         "layers: choose fewer stages");
    c->parallelism.pipeline_parallel_last_stage_less_layers = 2;
    set(c, 5, 1, -1, 1);
    says(c, 5,
         "default: parallelism.pipeline_parallel_degree = 5: 5 stages (1 a rank) of model.n_layers = 3, of "
         "which "
         "the first has 1 less and the last 2 (pipeline_parallel_first_stage_less_layers, _last_): too few "
         "layers: choose fewer stages");
    c->parallelism.pipeline_parallel_last_stage_less_layers = 1;
    c->parallelism.pipeline_parallel_layers_per_stage = 2;
    set(c, 2, 1, -1, 1);
    says(c, 2,
         "default: parallelism.pipeline_parallel_layers_per_stage = 2: 5 layers (embedding and head counted "
         "as 1 "
         "and 1) make 3 stages, which 2 ranks cannot have alike: choose another number");
    c->parallelism.pipeline_parallel_layers_per_stage = 1;
    c->model.n_layers = 4;
    says(c, 2,
         "default: parallelism.pipeline_parallel_layers_per_stage = 1: 6 stages, 3 a rank, but the schedule "
         "has "
         "one a rank: choose 3, or an interleaved parallelism.pipeline_parallel_schedule");
    c->parallelism.pipeline_parallel_layers_per_stage = 0;
    set(c, 1, 1, -1, 1);
    c->metrics.moe_counters_rank = 2;
    says(c, 2, "default: metrics.moe_counters_rank = 2: ranks are 0 to 1: choose one of them");
    sy_config_destroy(c);
}

/* --- groups --------------------------------------------------------------------------------------------- */

struct of_rank {
    struct sy_mesh m;
    int wrong;
};
struct room {
    struct sy_config *config;
    struct of_rank rank[MOST_RANKS];
};

/* What a group's ranks have in common, and the place of this one. */
static int is_group(const struct sy_comm *g, int size, int rank, int64_t common) {
    int64_t all[MOST_RANKS], sum = 1;
    if (g->size != size || g->rank != rank)
        return 0;
    if (g->ops->all_gather(g, SY_OK, &common, sizeof common, all) != SY_OK ||
        g->ops->sum_i64(g, SY_OK, &sum, 1) != SY_OK || sum != size)
        return 0;
    for (int r = 0; r < size; r++)
        if (all[r] != common)
            return 0;
    return 1;
}

static sy_status split_rank(const struct sy_comm *world, void *arg) {
    struct room *room = arg;
    struct of_rank *own = &room->rank[world->rank];
    struct sy_groups g;
    SY_TRY(sy_mesh_create(room->config, world->size, world->rank, &own->m));
    const struct sy_mesh *m = &own->m;
    SY_TRY(sy_mesh_split(m, world, &g));
    int stage = 100 * m->pp_rank;
    own->wrong |= !is_group(&g.world, m->world, m->rank, 1);
    own->wrong |= !is_group(&g.dp, m->dp, m->dp_rank, stage);
    own->wrong |= !is_group(&g.ep, m->ep, m->ep_rank, stage + m->edp_rank);
    own->wrong |= !is_group(&g.edp, m->edp, m->edp_rank, stage + m->ep_rank);
    own->wrong |= !is_group(&g.shard, m->shard, m->shard_rank, stage + m->replicate_rank);
    own->wrong |= !is_group(&g.replicate, m->replicate, m->replicate_rank, stage + m->shard_rank);
    own->wrong |= !is_group(&g.pp, m->pp, m->pp_rank, m->dp_rank);
    sy_groups_destroy(&g);
    return SY_OK;
}

static void groups(void **state) {
    (void)state;
    /* ranks, pipeline, replicate, expert parallel */
    static const int meshes[][4] = {{1, 1, 1, 1}, {4, 1, 1, 2}, {6, 1, 3, 2},
                                    {8, 2, 2, 2}, {6, 2, 1, 3}, {8, 1, 2, 4}};
    struct room room = {.config = config_of()};
    room.config->numerics.lanes = 16;
    room.config->numerics.expert_lanes = 1;
    for (size_t i = 0; i < sizeof meshes / sizeof *meshes; i++) {
        const int *k = meshes[i];
        set(room.config, k[1], k[2], -1, k[3]);
        assert_int_equal(sy_comm_threads_run(k[0], split_rank, &room), SY_OK);
        for (int r = 0; r < k[0]; r++)
            assert_int_equal(room.rank[r].wrong, 0);
    }
    sy_config_destroy(room.config);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_lane), cmocka_unit_test(known_lanes),
                                       cmocka_unit_test(every_rank), cmocka_unit_test(experts_and_layers),
                                       cmocka_unit_test(refusals),   cmocka_unit_test(groups)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
