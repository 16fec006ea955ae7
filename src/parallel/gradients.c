/* Gradients of a step on one rank: see gradients.h. */
#include "parallel/gradients.h"

#include <assert.h>
#include <stdlib.h>

#include "ops/trace.h"
#include "parallel/embedding_sum.h"

enum { MAX_PENDING = 32 }; /* matrices of one layer, and vectors */

struct sum { /* of a tree and its leaves: dense weights over lanes, experts over lane groups */
    struct sy_tree tree;
    float *leaf;  /* [tree.n] for each rank that sends, when leaves are cut; NULL */
    int64_t cell; /* sequences of a leaf */
};

struct matrix { /* handed over, not used yet */
    int param;
    struct sy_mat dy, x;
};

struct sy_gradients {
    struct sy_gradients_options o;
    struct sy_arena arena;
    struct sum dense, experts;
    struct sy_walk *walks; /* [n_ranks] a copy */
    int n_ranks;
    int64_t first_expert, n_experts;
    struct sy_embedding_sum embedding;
    float *leaf_head;  /* when nothing else is cut */
    int *item;         /* [n_params] in its tree; of an expert's weights: its layer's */
    struct sy_span at; /* of what is pending */
    int n_matrices, n_vectors;
    struct matrix matrix[MAX_PENDING];
    struct sy_sink_vector vector[MAX_PENDING];
    struct sy_dw problem[MAX_PENDING];
    struct sy_row_sum_item sum[MAX_PENDING];
    struct sy_add_item *add;
    int shuffle_lanes;
    struct sy_gradients_work work;
    void (*flushed)(void *arg);
    void *flushed_arg;
};

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

static const struct sy_param *param_of(const struct sy_gradients *g, int param) {
    return &g->o.params->param[param];
}
static int64_t size_of(const struct sy_param *p) { return p->rows * p->cols; }

static int is_planted(const struct sy_gradients_options *o, const char *name) {
    return o->plant && strcmp(o->plant, name) == 0;
}

static int is_here(const struct sy_gradients *g, int param) {
    return !g->o.own || sy_owner_in_stage(g->o.own, param_of(g, param));
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
        if (q->kind == SY_PARAM_MATRIX || q->kind == SY_PARAM_VECTOR) {
            g->item[i] = *n_dense;
            dense[(*n_dense)++] = size_of(q);
        } else if (q->kind == SY_PARAM_EXPERT) {
            if (i == p->layer[q->layer].first_expert)
                experts[(*n_experts)++] = 0;
            g->item[i] = *n_experts - 1;
            if (q->expert >= g->first_expert && q->expert < g->first_expert + g->n_experts)
                experts[*n_experts - 1] += size_of(q);
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
    const struct sy_param *e = param_of(g, o->params->embedding);
    size_t n = (size_t)o->params->n_params + 1;
    const struct sy_walk *w = &o->walk;
    int f = w->expert_lanes, n_dense, n_experts;
    int64_t *sizes = calloc(2 * n, sizeof *sizes);
    struct sy_tree_run *groups = calloc((size_t)g->n_ranks, sizeof *groups);
    g->item = calloc(n, sizeof *g->item);
    g->add = calloc((size_t)2 * MAX_PENDING * SY_TREE_LEVELS, sizeof *g->add);
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
    int64_t in_chunk = o->head_chunk / o->seq_len; /* whole sequences of a piece of the head */
    sy_tree_carve(&g->dense.tree, a, "gradients");
    sy_tree_carve(&g->experts.tree, a, "gradients");
    sy_embedding_sum_carve(&g->embedding, a);
    if (cut(g->dense.cell, o->max_sequences))
        g->dense.leaf = sy_take_f32(a, "leaf of a cut cell", g->dense.tree.n);
    else if (is_here(g, o->params->head) && (in_chunk == 0 || cut(g->dense.cell, in_chunk)))
        g->leaf_head = sy_take_f32(a, "leaf of the head", size_of(param_of(g, o->params->head)));
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

/* --- leaves --------------------------------------------------------------------------------------------- */

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

struct piece { /* of a leaf: sequences from .. from + n - 1 of the span */
    int64_t from, n;
    int lane;               /* or lane group */
    int rank;               /* whose sequences they are, where a leaf may be cut */
    int begins, ends, last; /* last: of its lane */
    int64_t round;
};

/* The piece of a dense leaf that begins at sequence `from` of the span. */
static struct piece piece_at(const struct sy_gradients *g, const struct sy_span *at, int64_t from) {
    int64_t k = at->first + from, cell = g->dense.cell, in_leaf = k % cell;
    int64_t n = min64(at->n - from, cell - in_leaf);
    struct sy_walk_place p = sy_walk_place(&g->o.walk, k + n - 1);
    int ends = in_leaf + n == cell;
    return (struct piece){.from = from,
                          .n = n,
                          .lane = (int)p.lane,
                          .begins = in_leaf == 0,
                          .ends = ends,
                          .last = ends && p.round == g->o.walk.rounds - 1,
                          .round = p.round};
}

/* Where a piece's sum goes: the accumulator when the leaf ends, else its leaf buffer. */
struct target {
    const float *acc;
    float *out;
    int fold;
};
static struct target target_of(struct sy_gradients *g, struct sum *s, int item, const struct piece *p,
                               float *leaf) {
    g->work.cut += (!p->begins + !p->ends) * s->tree.size[item];
    if (!p->ends) {
        assert(leaf);
        return (struct target){p->begins ? NULL : leaf, leaf, 0};
    }
    struct sy_tree_sum sum = sy_tree_lane(&s->tree, item, p->lane, g->o.walk.rounds == 1);
    g->work.folded += !sum.fresh * s->tree.size[item];
    return (struct target){p->begins ? NULL : leaf, sum.sum, !sum.fresh};
}

static float *dense_leaf(const struct sy_gradients *g, int param) {
    if (g->dense.leaf)
        return g->dense.leaf + g->dense.tree.at[g->item[param]];
    return param == g->o.params->head ? g->leaf_head : NULL;
}

static void add_up(struct sy_gradients *g, int n) {
    if (n > 0)
        g->o.exec->ops->add_f32(g->o.exec, &(struct sy_add_f32){g->add, n});
}

/* Shows a sum to whoever looks: of one lane when a leaf has been added, of a node when it is formed. */
static void show(const struct sy_gradients *g, const struct sum *s, int item, const struct sy_tree_join *of,
                 int64_t round) {
    const struct sy_trace *t = g->o.exec->trace;
    int param = 0;
    if (!t)
        return;
    while (g->item[param] != item || (param_of(g, param)->kind == SY_PARAM_EXPERT) != (s == &g->experts))
        param++;
    t->sum(t->self, &(struct sy_trace_sum){param, of->first, of->n_lanes, round, s->tree.size[item], of->to});
}

/* What a join has made: the node above the lanes that were added, past those without a sibling. */
static struct sy_tree_join made_by(const struct sum *s, const struct sy_tree_join *j) {
    int64_t size = 1, first, end;
    while (size < j->n_lanes)
        size *= 2;
    do {
        size *= 2;
        first = j->first / size * size;
        end = min64(first + size, s->tree.leaves);
    } while (end - first == j->n_lanes);
    return (struct sy_tree_join){j->to, NULL, first, end - first};
}

static void show_leaf(const struct sy_gradients *g, const struct sum *s, int item, const struct piece *p,
                      float *out) {
    if (p->ends)
        show(g, s, item, &(struct sy_tree_join){out, NULL, p->lane, 1}, p->round);
}

/* Adds up what the end of a lane makes possible; returns the number of items now in g->add. */
static int finish(struct sy_gradients *g, struct sum *s, int item, const struct piece *p, int n) {
    struct sy_tree_join joins[SY_TREE_LEVELS];
    if (!p->last)
        return n;
    int n_joins = sy_tree_finish(&s->tree, item, p->lane, joins);
    for (int i = 0; i < n_joins; i++) {
        g->add[n++] = (struct sy_add_item){s->tree.size[item], joins[i].from, joins[i].to};
        if (!g->o.exec->trace)
            continue;
        add_up(g, n); /* one after another, to be looked at */
        n = 0;
        struct sy_tree_join node = made_by(s, &joins[i]);
        show(g, s, item, &node, g->o.walk.rounds - 1);
    }
    return n;
}

/* --- matrices and vectors ------------------------------------------------------------------------------- */

static struct sy_dw dense_problem(struct sy_gradients *g, const struct matrix *m, const struct piece *p,
                                  struct sy_rows rows, int64_t first_row) {
    const struct sy_param *q = param_of(g, m->param);
    struct target t = target_of(g, &g->dense, g->item[m->param], p, dense_leaf(g, m->param));
    return (struct sy_dw){.rows = rows,
                          .n_segments = rows.sequences,
                          .m = q->rows,
                          .n = q->cols,
                          .dy = sy_mat_rows(m->dy, first_row),
                          .x = sy_mat_rows(m->x, first_row),
                          .acc = t.acc,
                          .c = t.out,
                          .fold = t.fold};
}

static struct sy_row_sum_item vector_item(struct sy_gradients *g, const struct sy_sink_vector *v,
                                          const struct piece *p) {
    struct target t = target_of(g, &g->dense, g->item[v->param], p, dense_leaf(g, v->param));
    int64_t token = p->from * g->at.seq_len;
    struct sy_row_sum_item item = {.sequences = p->n,
                                   .rows_per_sequence = g->at.seq_len * v->heads,
                                   .heads = v->heads,
                                   .d = param_of(g, v->param)->cols,
                                   .a = v->a,
                                   .x = v->x,
                                   .r = v->r ? v->r + token * v->heads : NULL,
                                   .acc = t.acc,
                                   .out = t.out,
                                   .fold = t.fold};
    item.a.data = sy_at(v->a.data, v->a.dtype, token * v->a.token);
    if (v->x.data)
        item.x.data = sy_at(v->x.data, v->x.dtype, token * v->x.token);
    return item;
}

/* A leaf of each matrix and vector, and what its end makes possible. */
static void use_piece(struct sy_gradients *g, const struct piece *p) {
    const struct sy_exec *x = g->o.exec;
    struct sy_rows rows = sy_rows_dense(p->n, p->n * g->at.seq_len);
    int n_add = 0;
    for (int i = 0; i < g->n_matrices; i++)
        g->problem[i] = dense_problem(g, &g->matrix[i], p, rows, p->from * g->at.seq_len);
    for (int i = 0; i < g->n_vectors; i++)
        g->sum[i] = vector_item(g, &g->vector[i], p);
    if (g->n_matrices > 0)
        x->ops->linear_dw(x, &(struct sy_linear_dw){g->problem, g->n_matrices});
    if (g->n_vectors > 0)
        x->ops->row_sum(x, &(struct sy_row_sum){g->sum, g->n_vectors});
    for (int i = 0; i < g->n_matrices; i++)
        show_leaf(g, &g->dense, g->item[g->matrix[i].param], p, g->problem[i].c);
    for (int i = 0; i < g->n_vectors; i++)
        show_leaf(g, &g->dense, g->item[g->vector[i].param], p, g->sum[i].out);
    for (int i = 0; i < g->n_matrices; i++)
        n_add = finish(g, &g->dense, g->item[g->matrix[i].param], p, n_add);
    for (int i = 0; i < g->n_vectors; i++)
        n_add = finish(g, &g->dense, g->item[g->vector[i].param], p, n_add);
    add_up(g, n_add);
}

/* All that is pending, leaf by leaf. */
static void use_pending(struct sy_gradients *g) {
    for (int64_t b = 0; g->n_matrices + g->n_vectors > 0 && b < g->at.n;) {
        struct piece p = piece_at(g, &g->at, b);
        use_piece(g, &p);
        b += p.n;
    }
    g->n_matrices = g->n_vectors = 0;
}

/* What is pending is of one span, and the lists have room for one more. */
static void make_room(struct sy_gradients *g, const struct sy_span *at) {
    int same = at->first == g->at.first && at->n == g->at.n && at->seq_len == g->at.seq_len;
    if (!same || g->n_matrices == MAX_PENDING || g->n_vectors == MAX_PENDING)
        use_pending(g);
    g->at = *at;
}

static void sink_matrix(void *self, const struct sy_span *at, int param, struct sy_mat dy, struct sy_mat x) {
    struct sy_gradients *g = self;
    make_room(g, at);
    g->matrix[g->n_matrices++] = (struct matrix){param, dy, x};
}

static void sink_vector(void *self, const struct sy_span *at, const struct sy_sink_vector *v) {
    struct sy_gradients *g = self;
    make_room(g, at);
    g->vector[g->n_vectors++] = *v;
}

static void sink_piece(void *self, const struct sy_sink_piece *q) {
    struct sy_gradients *g = self;
    struct sy_span at = {q->place, 1, q->seq_len};
    struct piece p = piece_at(g, &at, 0);
    struct matrix m = {q->param, q->dy, q->x};
    p.begins &= q->from == 0;
    p.ends &= q->from + q->n == q->seq_len;
    p.last &= p.ends;
    struct sy_dw problem = dense_problem(g, &m, &p, sy_rows_dense(1, q->n), 0);
    g->o.exec->ops->linear_dw(g->o.exec, &(struct sy_linear_dw){&problem, 1});
    show_leaf(g, &g->dense, g->item[q->param], &p, problem.c);
    add_up(g, finish(g, &g->dense, g->item[q->param], &p, 0));
}

/* --- experts -------------------------------------------------------------------------------------------- */

/* Both weights of all experts: W1 | W3 of each, then W2 of each, from the item's beginning on. */
static void expert_problems(const struct sy_sink_experts *e, const struct sy_param *p, const struct target *t,
                            int64_t first, int64_t n, struct sy_dw out[2]) {
    int64_t d = p->cols, f = p->rows / 2; /* of W1 | W3 */
    int64_t groups = e->rows.groups, w13 = 2 * f * d, w2 = d * f, behind = groups * w13;
    struct sy_dw q = {.rows = e->rows, .first = first, .n_segments = n, .fold = t->fold};
    out[0] = out[1] = q;
    out[0].m = 2 * f;
    out[0].n = d;
    out[0].dy = e->dgu;
    out[0].x = e->x;
    out[0].acc = t->acc;
    out[0].c = t->out;
    out[0].acc_step = out[0].c_step = w13;
    out[1].m = d;
    out[1].n = f;
    out[1].dy = e->dy;
    out[1].x = e->h;
    out[1].acc = t->acc ? t->acc + behind : NULL;
    out[1].c = t->out + behind;
    out[1].acc_step = out[1].c_step = w2;
}

static void run_experts(struct sy_gradients *g, const struct sy_sink_experts *e, const struct target *t,
                        int64_t first, int64_t n) {
    const struct sy_param *w13 = param_of(g, g->o.params->layer[e->layer].first_expert);
    struct sy_dw problem[2];
    expert_problems(e, w13, t, first, n, problem);
    g->o.exec->ops->linear_dw(g->o.exec, &(struct sy_linear_dw){problem, 2});
}

/* Planted: a leaf's sequences backwards, one by one through the leaf buffer. */
static void shuffled(struct sy_gradients *g, const struct sy_sink_experts *e, const struct target *t,
                     const struct piece *p, float *leaf) {
    for (int64_t i = p->n - 1; i >= 0; i--) {
        struct target one = {i == p->n - 1 ? t->acc : leaf, i == 0 ? t->out : leaf, i == 0 && t->fold};
        run_experts(g, e, &one, p->from + i, 1);
    }
}

struct cursor { /* through the sequences of a call, source after source */
    const struct sy_sink_source *source;
    int n_sources;
    int i;
    int64_t in_source, segment;
};

/* The piece of an experts' leaf that begins there, and the cursor behind it; n 0: there is no more. A leaf's
 * sequences stand in the order of its lanes, whichever ranks they are of. */
static struct piece next_piece(const struct sy_gradients *g, struct cursor *c) {
    const struct sy_walk *w0 = &g->o.walk;
    struct piece p = {.from = c->segment};
    int64_t round = 0, next = 0;
    for (; c->i < c->n_sources; c->i++, c->in_source = 0)
        for (; c->in_source < c->source[c->i].n; c->in_source++, c->segment++) {
            const struct sy_sink_source *s = &c->source[c->i];
            struct sy_walk_place at = sy_walk_place(&g->walks[s->rank], s->first + c->in_source);
            int group = (int)at.lane / w0->expert_lanes;
            int64_t in_leaf = at.lane % w0->expert_lanes * w0->cell + at.w;
            if (p.ends || (p.n > 0 && (group != p.lane || at.round != round)))
                return p;
            if (p.n == 0) {
                p.lane = group;
                p.rank = s->rank;
                p.begins = in_leaf == 0;
                p.round = round = at.round;
                next = in_leaf;
            }
            assert(in_leaf == next);
            next++;
            p.n++;
            p.ends = next == g->experts.cell;
            p.last = p.ends && round == w0->rounds - 1;
        }
    return p;
}

static void sink_experts(void *self, const struct sy_span *at, const struct sy_sink_experts *e) {
    struct sy_gradients *g = self;
    struct sy_sink_source own = {0, at->first, at->n};
    struct cursor c = {e->source ? e->source : &own, e->source ? e->n_sources : 1, 0, 0, 0};
    int item = g->item[g->o.params->layer[e->layer].first_expert];
    if (e->rows.groups == 0) /* more ranks than experts */
        return;
    for (struct piece p = next_piece(g, &c); p.n > 0; p = next_piece(g, &c)) {
        float *leaf = g->experts.leaf;
        leaf = leaf ? leaf + p.rank * g->experts.tree.n + g->experts.tree.at[item] : NULL;
        struct target t = target_of(g, &g->experts, item, &p, leaf);
        if (g->shuffle_lanes)
            shuffled(g, e, &t, &p, leaf);
        else
            run_experts(g, e, &t, p.from, p.n);
        show_leaf(g, &g->experts, item, &p, t.out);
        add_up(g, finish(g, &g->experts, item, &p, 0));
    }
    assert(c.segment == e->rows.sequences);
}

/* --- the embedding, and all of it ----------------------------------------------------------------------- */

static void sink_embedding(void *self, const struct sy_span *at, const int32_t *ids, struct sy_mat dy) {
    struct sy_gradients *g = self;
    sy_embedding_sum_add(&g->embedding, at, ids, dy);
}

static void sink_flush(void *self) {
    const struct sy_gradients *g = self;
    use_pending(self);
    if (g->flushed)
        g->flushed(g->flushed_arg);
}

void sy_gradients_after_flush(struct sy_gradients *g, void (*fn)(void *arg), void *arg) {
    g->flushed = fn;
    g->flushed_arg = arg;
}

struct sy_grad_sink sy_gradients_sink(struct sy_gradients *g) {
    return (struct sy_grad_sink){g,           sink_matrix,    sink_piece, sink_experts,
                                 sink_vector, sink_embedding, sink_flush};
}

static const struct sy_tree *tree_of(const struct sy_gradients *g, int param) {
    if (param == g->o.params->embedding)
        return &g->embedding.tree;
    return param_of(g, param)->kind == SY_PARAM_EXPERT ? &g->experts.tree : &g->dense.tree;
}

float *sy_gradients_sum(const struct sy_gradients *g, int param, struct sy_tree_node node) {
    const struct sy_param *q = param_of(g, param);
    const struct sy_tree *tree = tree_of(g, param);
    if (param == g->o.params->embedding)
        return sy_tree_node(tree, 0, node);
    float *sum = sy_tree_node(tree, g->item[param], node);
    if (q->kind != SY_PARAM_EXPERT)
        return sum;
    int first = g->o.params->layer[q->layer].first_expert, which = (param - first) % 2;
    const struct sy_param *w13 = param_of(g, first), *w2 = param_of(g, first + 1);
    int64_t experts = tree->size[g->item[param]] / (size_of(w13) + size_of(w2));
    int64_t e = q->expert - g->first_expert;
    assert(sum && e >= 0 && e < experts);
    return which == 0 ? sum + e * size_of(w13) : sum + experts * size_of(w13) + e * size_of(w2);
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
