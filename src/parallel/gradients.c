/* Gradients of a step on one rank: see gradients.h. */
#include <assert.h>
#include <stdlib.h>

#include "parallel/gradient_sums.h"

static const struct {
    const char *name, *about;
} plants[] = {
    {"swap_sequences", "lanes 0 and 1 trade their first round; shows when lanes >= 2"},
    {"shuffle_lanes",
     "an expert's sequences of a leaf are added backwards; shows when expert_lanes * cell >= 2"},
    {"lanes_in_turn",
     "lanes are added one after another instead of in a tree; shows when lanes >= 4 (experts: groups)"},
};

const char *sy_gradients_plant(int i) {
    return i >= 0 && (size_t)i < sizeof plants / sizeof *plants ? plants[i].name : NULL;
}

const char *sy_gradients_plant_about(int i) { return sy_gradients_plant(i) ? plants[i].about : NULL; }

/* --- creation ------------------------------------------------------------------------------------------- */

static int is_planted(const struct sy_gradients_options *o, const char *name) {
    return o->plant && strcmp(o->plant, name) == 0;
}

static int is_here(const struct sy_gradients *g, int param) {
    return !g->o.own || sy_owner_in_stage(g->o.own, sy_gradient_param(g, param));
}

/* Items of both trees: a dense weight each; of a layer with experts all of them, W1 | W3 and then W2. */
static void list_items(struct sy_gradients *g, int64_t *dense, int *n_dense, int64_t *experts,
                       int *n_experts) {
    const struct sy_params *p = g->o.params;
    *n_dense = *n_experts = 0;
    for (int i = 0; i < p->n_params; i++) {
        const struct sy_param *q = &p->param[i];
        g->item[i] = -1;
        if (!is_here(g, i))
            continue;
        if (q->kind == SY_PARAM_MATRIX || q->kind == SY_PARAM_SITE || q->kind == SY_PARAM_VECTOR) {
            g->item[i] = *n_dense;
            dense[(*n_dense)++] = sy_gradient_size(q);
        } else if (q->kind == SY_PARAM_EXPERT) {
            if (i == p->layer[q->layer].first_expert)
                experts[(*n_experts)++] = 0;
            g->item[i] = *n_experts - 1;
            if (q->expert >= g->first_expert && q->expert < g->first_expert + g->n_experts)
                experts[*n_experts - 1] += sy_gradient_size(q);
        }
    }
}

static struct sy_tree_run groups_of(const struct sy_walk *w) {
    int f = w->expert_lanes, first = w->first_lane / f, end = (w->first_lane + w->n_lanes + f - 1) / f;
    return (struct sy_tree_run){first, end - first};
}

int sy_gradients_groups(const struct sy_walk *walks, int n_ranks, struct sy_tree_run *run) {
    int n = 0;
    for (int r = 0; r < n_ranks; r++) {
        struct sy_tree_run groups = groups_of(&walks[r]);
        if (n == 0 || groups.first >= run[n - 1].first + run[n - 1].n)
            run[n++] = groups;
    }
    return n;
}

static sy_status init_trees(struct sy_gradients *g) {
    const struct sy_gradients_options *o = &g->o;
    const struct sy_param *e = sy_gradient_param(g, o->params->embedding);
    size_t n = (size_t)o->params->n_params + 1;
    const struct sy_walk *w = &o->walk;
    int f = w->expert_lanes, n_dense, n_experts;
    int64_t *sizes = calloc(2 * n, sizeof *sizes);
    struct sy_tree_run *groups = calloc((size_t)g->n_ranks, sizeof *groups);
    g->item = calloc(n, sizeof *g->item);
    g->add = calloc((size_t)2 * SY_GRADIENT_PENDING * SY_TREE_LEVELS, sizeof *g->add);
    if (!sizes || !groups || !g->item || !g->add) {
        free(sizes);
        free(groups);
        SY_FAIL(SY_ERR_MEMORY, "no memory for the list of gradients");
    }
    list_items(g, sizes, &n_dense, sizes + n, &n_experts);
    struct sy_tree_run lanes = sy_tree_run_of(w);
    struct sy_tree_shape dense = sy_tree_shape_of(w, &lanes);
    struct sy_tree_shape experts = {w->lanes / f, 1, groups,
                                    sy_gradients_groups(g->walks, g->n_ranks, groups)};
    sy_status status = sy_tree_init(&dense, n_dense, sizes, &g->dense.tree);
    if (status == SY_OK)
        status = sy_tree_init(&experts, n_experts, sizes + n, &g->experts.tree);
    if (status == SY_OK)
        status =
            sy_embedding_sum_init(o->exec, &o->walk, o->seq_len,
                                  is_here(g, o->params->embedding) ? e->rows : 0, e->cols, &g->embedding);
    free(sizes);
    free(groups);
    g->dense.tree.in_turn = g->experts.tree.in_turn = g->embedding.tree.in_turn =
        is_planted(o, "lanes_in_turn") && o->walk.n_lanes == o->walk.lanes;
    g->dense.cell = o->walk.cell;
    g->experts.cell = (int64_t)o->walk.cell * f;
    return status;
}

/* Leaves of `sequences` sequences in batches of `batch`: is any cut? */
static int cut(int64_t sequences, int64_t batch) { return batch % sequences != 0; }

/* A rank with a part of a lane group sends whole rounds. */
static int cuts_experts(const struct sy_gradients *g) {
    return g->o.walk.n_lanes >= g->o.walk.expert_lanes && cut(g->experts.cell, g->o.max_sequences);
}

static void carve(void *self, struct sy_arena *a) {
    struct sy_gradients *g = self;
    const struct sy_gradients_options *o = &g->o;
    int64_t in_piece = o->head_piece / o->seq_len; /* whole sequences of a piece of the head */
    sy_tree_carve(&g->dense.tree, a, "gradients");
    sy_tree_carve(&g->experts.tree, a, "gradients");
    sy_embedding_sum_carve(&g->embedding, a);
    if (cut(g->dense.cell, o->max_sequences))
        g->dense.leaf = sy_take_f32(a, "leaf of a cut cell", g->dense.tree.n);
    else if (is_here(g, o->params->head) && (in_piece == 0 || cut(g->dense.cell, in_piece)))
        g->leaf_head =
            sy_take_f32(a, "leaf of the head", sy_gradient_size(sy_gradient_param(g, o->params->head)));
    if (cuts_experts(g) || is_planted(o, "shuffle_lanes"))
        g->experts.leaf = sy_take_f32(a, "leaf of cut experts", g->n_ranks * g->experts.tree.n);
}

static sy_status copy_walks(struct sy_gradients *g) {
    const struct sy_gradients_options *o = &g->o;
    g->n_ranks = o->walks ? o->n_ranks : 1;
    g->walks = calloc((size_t)g->n_ranks, sizeof *g->walks);
    if (!g->walks)
        SY_FAIL(SY_ERR_MEMORY, "no memory for the walks of %d ranks", g->n_ranks);
    memcpy(g->walks, o->walks ? o->walks : &o->walk, (size_t)g->n_ranks * sizeof *g->walks);
    g->first_expert = o->walks ? o->first_expert : 0;
    g->n_experts = o->walks ? o->n_experts : INT64_MAX;
    return SY_OK;
}

static sy_status shell(const struct sy_gradients_options *o, struct sy_gradients **out) {
    struct sy_gradients *g = calloc(1, sizeof *g);
    if (!g)
        SY_FAIL(SY_ERR_MEMORY, "no memory for gradients");
    g->o = *o;
    g->o.walk.swapped = is_planted(o, "swap_sequences");
    g->shuffle_lanes = is_planted(o, "shuffle_lanes");
    sy_status status = copy_walks(g);
    if (status == SY_OK)
        status = init_trees(g);
    if (status != SY_OK) {
        sy_gradients_destroy(g);
        return status;
    }
    *out = g;
    return SY_OK;
}

void sy_gradients_destroy(struct sy_gradients *g) {
    if (!g)
        return;
    sy_tree_fini(&g->dense.tree);
    sy_tree_fini(&g->experts.tree);
    sy_embedding_sum_fini(&g->embedding);
    sy_arena_fini(&g->arena);
    free(g->walks);
    free(g->item);
    free(g->add);
    free(g);
}

sy_status sy_gradients_measure(const struct sy_gradients_options *o, struct sy_arena *arena) {
    struct sy_gradients *g;
    SY_TRY(shell(o, &g));
    carve(g, arena);
    sy_gradients_destroy(g);
    return SY_OK;
}

sy_status sy_gradients_create(const struct sy_gradients_options *o, struct sy_gradients **out) {
    struct sy_gradients *g;
    SY_TRY(shell(o, &g));
    sy_status status = sy_arena_build(o->exec->device, "gradients (fewer numerics.lanes need fewer buffers)",
                                      carve, g, &g->arena);
    if (status != SY_OK) {
        sy_gradients_destroy(g);
        return status;
    }
    *out = g;
    return SY_OK;
}

void sy_gradients_begin(struct sy_gradients *g, const int32_t *ids) {
    g->work = (struct sy_gradients_work){0};
    sy_tree_begin(&g->dense.tree);
    sy_tree_begin(&g->experts.tree);
    sy_embedding_sum_begin(&g->embedding, ids);
    g->n_matrices = g->n_vectors = 0;
}

/* --- the embedding, and all of it ----------------------------------------------------------------------- */

static void sink_embedding(void *self, const struct sy_span *at, const int32_t *ids, struct sy_mat dy) {
    struct sy_gradients *g = self;
    sy_embedding_sum_add(&g->embedding, at, ids, dy);
}

static void sink_flush(void *self) {
    const struct sy_gradients *g = self;
    sy_gradient_use_pending(self);
    if (g->flushed)
        g->flushed(g->flushed_arg);
}

void sy_gradients_after_flush(struct sy_gradients *g, void (*fn)(void *arg), void *arg) {
    g->flushed = fn;
    g->flushed_arg = arg;
}

struct sy_grad_sink sy_gradients_sink(struct sy_gradients *g) {
    return (struct sy_grad_sink){g,
                                 sy_gradient_matrix,
                                 sy_gradient_piece,
                                 sy_gradient_experts,
                                 sy_gradient_vector,
                                 sink_embedding,
                                 sink_flush};
}

static const struct sy_tree *tree_of(const struct sy_gradients *g, int param) {
    if (param == g->o.params->embedding)
        return &g->embedding.tree;
    return sy_gradient_param(g, param)->kind == SY_PARAM_EXPERT ? &g->experts.tree : &g->dense.tree;
}

float *sy_gradients_sum(const struct sy_gradients *g, int param, struct sy_tree_node node) {
    const struct sy_param *q = sy_gradient_param(g, param);
    const struct sy_tree *tree = tree_of(g, param);
    if (param == g->o.params->embedding)
        return sy_tree_node(tree, 0, node);
    float *sum = sy_tree_node(tree, g->item[param], node);
    if (q->kind != SY_PARAM_EXPERT)
        return sum;
    int first = g->o.params->layer[q->layer].first_expert, which = (param - first) % 2;
    const struct sy_param *w13 = sy_gradient_param(g, first), *w2 = sy_gradient_param(g, first + 1);
    int64_t experts = tree->size[g->item[param]] / (sy_gradient_size(w13) + sy_gradient_size(w2));
    int64_t e = q->expert - g->first_expert;
    assert(sum && e >= 0 && e < experts);
    return which == 0 ? sum + e * sy_gradient_size(w13)
                      : sum + experts * sy_gradient_size(w13) + e * sy_gradient_size(w2);
}

struct sy_gradients_work sy_gradients_work(const struct sy_gradients *g) {
    return g->work;
}

int sy_gradients_has(const struct sy_gradients *g, int param, struct sy_tree_node node) {
    int item = param == g->o.params->embedding ? 0 : g->item[param];
    return sy_tree_node(tree_of(g, param), item, node) != NULL;
}

float *sy_gradients_root(const struct sy_gradients *g, int param) {
    return sy_gradients_sum(g, param, sy_tree_root_of(tree_of(g, param)->leaves));
}
