/* Expert gradients of many ranks against one: the same bits, for lane groups dealt in whole and in parts,
 * evenly and not, for any micro-batch, with more ranks than experts.
 *
 * Rows are planted: what an (expert, sequence) has is a function of both. One process gets them as its own
 * walk has them; each owner of experts gets those of all ranks of its group, call by call, as the calls of a
 * step say; the nodes that groups end in are added by the definition of the tree.
 *
 * A wrong rank's walk, and ranks in another order, must show.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/session.h"
#include "base/rng.h"
#include "parallel/calls.h"

enum { SEQ = 32, MOST_GROUPS = 8 };

struct lab {
    struct sy_session *s; /* the one process: its exec, parameters and gradients */
    int64_t d, f, experts;
    int layer; /* with experts */
    int64_t *offset;
    float *dgu, *x, *dy, *h;
};

static float number(uint64_t a, uint64_t b) {
    uint64_t z = sy_mix64(a * 1000003u + b);
    return ldexpf((float)(int32_t)(z >> 32), (int)(z % 16) - 38);
}

/* Rows of an (expert, sequence of the step's batch): 0..3. */
static int64_t rows_of(int64_t expert, int64_t sequence) {
    return (int64_t)(sy_mix64((uint64_t)(expert * 4099 + sequence)) % 4);
}

static void fill_row(float *to, int64_t width, uint64_t what, int64_t expert, int64_t sequence, int64_t row) {
    for (int64_t i = 0; i < width; i++)
        to[i] = number(what + (uint64_t)(4 * ((expert * 512 + sequence) * 4 + row)), (uint64_t)i);
}

static void open_lab(struct lab *l, const char *(*keys)[2], size_t n) {
    const char *more[][2] = {{"model.flavor", "micro_gqa"},
                             {"training.seq_len", "32"},
                             {"training.dataset_path", "none"},
                             {"numerics.class", "fp32"},
                             {"run.threads", "1"}};
    struct sy_config *c = config_with(more, sizeof more / sizeof *more);
    set_options(c, keys, n);
    *l = (struct lab){.s = session_of(c, SY_SESSION_TRAIN | SY_SESSION_INIT)};
    l->d = c->model.dim;
    l->f = c->model.moe_inter_dim;
    l->experts = c->moe.num_experts;
    l->layer = (int)c->model.n_layers - 1;
    size_t rows = (size_t)(4 * l->experts * c->training.global_batch_size);
    l->offset = calloc(rows + 1, sizeof *l->offset);
    l->dgu = calloc(rows * (size_t)(2 * l->f), sizeof(float));
    l->x = calloc(rows * (size_t)l->d, sizeof(float));
    l->dy = calloc(rows * (size_t)l->d, sizeof(float));
    l->h = calloc(rows * (size_t)l->f, sizeof(float));
    assert_true(l->offset && l->dgu && l->x && l->dy && l->h);
}

static void close_lab(struct lab *l) {
    close_session(l->s);
    free(l->offset);
    free(l->dgu);
    free(l->x);
    free(l->dy);
    free(l->h);
}

/* The rows of experts first .. first + n - 1 of these sequences of the step, handed to a sink. */
static void hand(struct lab *l, const struct sy_grad_sink *sink, const struct sy_span *at,
                 struct sy_sink_experts *e, int64_t n, const int64_t *sequence) {
    int64_t row = 0, s = 0;
    for (int64_t x = e->first_expert; x < e->first_expert + n; x++)
        for (int64_t b = 0; b < e->rows.sequences; b++) {
            l->offset[s++] = row;
            for (int64_t i = 0; i < rows_of(x, sequence[b]); i++, row++) {
                fill_row(l->dgu + row * 2 * l->f, 2 * l->f, 0, x, sequence[b], i);
                fill_row(l->x + row * l->d, l->d, 1, x, sequence[b], i);
                fill_row(l->dy + row * l->d, l->d, 2, x, sequence[b], i);
                fill_row(l->h + row * l->f, l->f, 3, x, sequence[b], i);
            }
        }
    l->offset[s] = row;
    e->layer = l->layer;
    e->rows.groups = n;
    e->rows.max_rows = row;
    e->rows.offset = l->offset;
    e->dgu = sy_mat_of(l->dgu, SY_F32, 2 * l->f);
    e->x = sy_mat_of(l->x, SY_F32, l->d);
    e->dy = sy_mat_of(l->dy, SY_F32, l->d);
    e->h = sy_mat_of(l->h, SY_F32, l->f);
    sink->experts(sink->self, at, e);
}

static void run_alone(struct lab *l) {
    struct sy_session *s = l->s;
    struct sy_grad_sink sink = sy_gradients_sink(s->gradients);
    int64_t all = sy_walk_length(&s->walk), batch = sy_session_batch(s), sequence[512];
    sy_gradients_begin(s->gradients, s->fed.ids);
    for (int64_t k = 0; k < all; k += batch) {
        struct sy_span at = {k, all - k < batch ? all - k : batch, SEQ};
        struct sy_sink_experts e = {.rows.sequences = at.n};
        for (int64_t b = 0; b < at.n; b++)
            sequence[b] = sy_walk_sequence(&s->walk, k + b);
        hand(l, &sink, &at, &e, l->experts, sequence);
    }
}

struct owner { /* of experts: a rank, and whose rows it gets */
    struct sy_mesh mesh;
    struct sy_calls calls;
    struct sy_share experts;
    struct sy_gradients *gradients;
};

enum wrong { RIGHT, OTHER_WALK, RANKS_BACKWARDS };

static void open_owner(struct lab *l, int rank, int world, struct owner *o) {
    struct sy_session *s = l->s;
    expect_ok(sy_mesh_create(s->config, world, rank, &o->mesh));
    expect_ok(sy_calls_init(&o->mesh, &s->walk, s->config->training.local_batch_size, &o->calls));
    o->experts = sy_mesh_experts(&o->mesh, o->mesh.ep_rank);
    struct sy_gradients_options options = {.params = s->params,
                                           .exec = &s->exec,
                                           .walk = o->calls.walk[o->mesh.ep_rank],
                                           .seq_len = SEQ,
                                           .max_sequences = o->calls.max_sequences,
                                           .head_piece = SEQ,
                                           .walks = o->calls.walk,
                                           .n_ranks = o->calls.ranks,
                                           .first_expert = o->experts.first,
                                           .n_experts = o->experts.n};
    expect_ok(sy_gradients_create(&options, &o->gradients));
    sy_gradients_begin(o->gradients, s->fed.ids);
}

/* All calls of a step, as they come to this owner. Sequences that ranks bring are checked to be the step's,
 * each once. */
static void run_owner(struct lab *l, struct owner *o, enum wrong wrong, int *seen) {
    struct sy_grad_sink sink = sy_gradients_sink(o->gradients);
    int64_t sequence[512];
    for (int64_t i = 0; i < o->calls.n; i++) {
        struct sy_sink_experts e = {.first_expert = o->experts.first};
        struct sy_span at = {.seq_len = SEQ};
        struct sy_group_batch g = o->calls.call[i].group;
        at.first = o->calls.call[i].first;
        at.n = o->calls.call[i].n;
        for (int k = 0; k < g.n_sources; k++) {
            int r = wrong == RANKS_BACKWARDS ? g.n_sources - 1 - k : k;
            for (int64_t b = 0; b < g.source[r].n; b++) {
                int rank = wrong == OTHER_WALK ? 0 : g.source[r].rank;
                int64_t n = sy_walk_sequence(&o->calls.walk[rank], g.source[r].first + b);
                sequence[e.rows.sequences++] = n;
                seen[n]++;
            }
        }
        int64_t mine = 0;
        for (int j = 0; j < g.rounds; j++)
            mine += g.of[o->calls.rank * g.rounds + j];
        assert_int_equal(mine, at.n);
        assert_true(at.n <= o->calls.max_sequences && g.rounds <= o->calls.max_rounds);
        e.source = g.source;
        e.n_sources = g.n_sources;
        hand(l, &sink, &at, &e, o->experts.n, sequence);
    }
}

/* Element i of node(level, index), out of the groups' nodes. */
static float node_value(struct owner *const *group, int n_groups, int leaves, int param,
                        struct sy_tree_node node, int64_t i) {
    struct sy_tree_node list[SY_TREE_MAX_NODES], left = {node.level - 1, 2 * node.index},
                                                 right = {node.level - 1, 2 * node.index + 1};
    for (int g = 0; g < n_groups; g++) {
        struct sy_share own = sy_mesh_lane_groups(&group[g]->mesh, group[g]->mesh.edp_rank);
        int n = sy_tree_maximal(leaves, (int)own.first, (int)own.n, list);
        for (int k = 0; k < n; k++)
            if (list[k].level == node.level && list[k].index == node.index)
                return sy_gradients_sum(group[g]->gradients, param, node)[i];
    }
    assert_true(node.level > 0);
    float a = node_value(group, n_groups, leaves, param, left, i);
    if (right.index << right.level >= leaves)
        return a;
    return a + node_value(group, n_groups, leaves, param, right, i);
}

/* Elements that differ, over all experts. */
static int64_t compare(const struct lab *l, struct owner *owners, int world) {
    const struct sy_walk *w = &l->s->walk;
    int64_t wrong = 0;
    int leaves = w->lanes / w->expert_lanes, ep = owners[0].mesh.ep, groups = world / ep;
    for (int64_t x = 0; x < l->experts; x++)
        for (int which = 0; which < 2; which++) {
            int param = l->s->params->layer[l->layer].first_expert + 2 * (int)x + which;
            const struct sy_param *p = &l->s->params->param[param];
            const float *want = sy_gradients_root(l->s->gradients, param);
            struct owner *group[MOST_GROUPS];
            int r = 0;
            while (x < owners[r].experts.first || x >= owners[r].experts.first + owners[r].experts.n)
                r++;
            for (int g = 0; g < groups; g++)
                group[g] = &owners[g * ep + r];
            for (int64_t i = 0; i < p->rows * p->cols; i += 7) {
                float got = node_value(group, groups, leaves, param, sy_tree_root_of(leaves), i);
                wrong += memcmp(&got, &want[i], sizeof got) != 0;
            }
        }
    return wrong;
}

static int64_t run_ranks(struct lab *l, int world, enum wrong wrong) {
    struct owner owners[MOST_GROUPS];
    int batch = (int)l->s->config->training.global_batch_size;
    int *seen = calloc((size_t)batch, sizeof *seen);
    for (int r = 0; r < world; r++) {
        open_owner(l, r, world, &owners[r]);
        run_owner(l, &owners[r], wrong, seen);
    }
    for (int n = 0; wrong == RIGHT && n < batch; n++) /* once for each owner of a group */
        assert_int_equal(seen[n], owners[0].mesh.ep);
    int64_t differ = compare(l, owners, world);
    for (int r = 0; r < world; r++) {
        sy_gradients_destroy(owners[r].gradients);
        sy_calls_fini(&owners[r].calls);
    }
    free(seen);
    return differ;
}

/* --- cases -------------------------------------------------------------------------------------- */

struct layout {
    const char *batch, *local, *lanes, *expert_lanes, *cell, *experts, *ep;
    int world;
};

static int64_t run_layout(const struct layout *q, enum wrong wrong) {
    const char *keys[][2] = {{"training.global_batch_size", q->batch},
                             {"training.local_batch_size", q->local},
                             {"numerics.lanes", q->lanes},
                             {"numerics.expert_lanes", q->expert_lanes},
                             {"numerics.cell", q->cell},
                             {"moe.num_experts", q->experts},
                             {"moe.top_k", "2"}};
    struct lab l;
    open_lab(&l, keys, sizeof keys / sizeof *keys);
    expect_ok(sy_config_set(l.s->config, SY_LAYER_FLAG, "test", "parallelism.expert_parallel_degree", q->ep));
    run_alone(&l);
    int64_t differ = run_ranks(&l, q->world, wrong);
    close_lab(&l);
    return differ;
}

static void one_answer(void **state) {
    (void)state;
    static const struct layout cases[] = {
        {"16", "1", "8", "1", "1", "8", "2", 2}, /* whole groups; a call of one sequence each */
        {"16", "4", "8", "1", "1", "8", "4", 8}, /* two EP groups of four ranks */
        {"16", "3", "8", "2", "1", "8", "2", 2}, /* calls cut leaves, of two ranks at once */
        {"24", "3", "8", "2", "1", "7", "3", 3}, /* 2, 1, 1 lane groups; 3, 2, 2 experts */
        {"24", "2", "4", "4", "2", "8", "2", 2}, /* F = P: parts of one group */
        {"24", "5", "4", "4", "1", "8", "3", 3}, /* 2, 1, 1 lanes; calls of 2 rounds */
        {"16", "1", "8", "8", "1", "8", "8", 8}, /* F = P = EP: a lane each */
        {"24", "4", "6", "3", "2", "8", "4", 4}, /* two groups, each on two ranks: 2, 1, 2, 1 lanes */
        {"12", "4", "6", "3", "1", "8", "3", 3}, /* one rank has a whole group, two share the other */
        {"24", "4", "8", "2", "1", "3", "4", 8}, /* a rank of each group without an expert */
        {"8", "8", "8", "1", "1", "8", "8", 8},  /* one round: lanes of one leaf */
        {"30", "2", "5", "1", "2", "8", "2", 2}, /* 3 and 2 lanes, not a power of two */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t differ = run_layout(&cases[i], RIGHT);
        if (differ)
            fail_msg("case %zu: %lld elements differ", i, (long long)differ);
    }
}

static void wrong_orders_show(void **state) {
    (void)state;
    struct layout whole = {"16", "4", "8", "1", "1", "8", "2", 2},
                  parts = {"16", "4", "4", "4", "1", "8", "2", 2};
    assert_true(run_layout(&whole, OTHER_WALK) > 0);
    assert_true(run_layout(&parts, RANKS_BACKWARDS) > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_answer),
        cmocka_unit_test(wrong_orders_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
