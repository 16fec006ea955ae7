/* Gradients of a step on one process: see gradients.h. */
#include "parallel/gradients.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct sy_gradients {
    struct sy_gradients_options o;
    struct sy_arena arena;
    struct sy_tree dense, experts;
    float *leaf_head, *leaf_dense, *leaf_experts, *leaf_embedding, *leaf_vector;
    struct sy_gemm_part *parts; /* [max_sequences] */
    int64_t first, n;           /* the batch's places */
    int swap_sequences, shuffle_lanes;
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

/* --- places --------------------------------------------------------------------------------------------------- */

struct place {
    int64_t lane, round, w;
};

/* Order of the walk: group, round, lane in the group, w. */
static struct place place_of(const struct sy_gradients *g, int64_t k) {
    int64_t f = g->o.expert_lanes, w = g->o.cell, q = g->o.rounds;
    int64_t group = k / (f * w * q), in_group = k % (f * w * q);
    return (struct place){group * f + in_group / w % f, in_group / (f * w), in_group % w};
}

int64_t sy_gradients_sequence(const struct sy_gradients *g, int64_t k) {
    struct place p = place_of(g, k);
    if (g->swap_sequences && g->o.lanes > 1 && p.lane < 2 && p.round == 0) /* planted */
        p.lane ^= 1;
    return (p.round * g->o.lanes + p.lane) * g->o.cell + p.w;
}

/* --- creation ------------------------------------------------------------------------------------------------- */

/* Leaves of `sequences` sequences in batches of `batch`: is any cut? */
static int cut(int64_t sequences, int64_t batch) { return batch % sequences != 0; }

static sy_status lay_out(struct sy_gradients *g, struct sy_arena *a) {
    const struct sy_gradients_options *o = &g->o;
    const struct sy_params *p = o->params;
    int n_dense = 0, n_experts = 0, groups = o->lanes / o->expert_lanes;
    SY_TRY(sy_tree_shape(o->lanes, o->expert_lanes, &n_dense));
    SY_TRY(sy_tree_shape(groups, 1, &n_experts));
    sy_tree_take(a, "gradients", o->lanes, o->expert_lanes, n_dense, p->n_params, 0, p->n_dense, &g->dense);
    sy_tree_take(a, "gradients", groups, 1, n_experts, p->n_params, p->n_dense, p->n_trained - p->n_dense, &g->experts);
    const struct sy_param *head = &p->param[p->head], *embedding = &p->param[p->embedding];
    int dense_cut = cut(o->cell, o->max_sequences);
    if (dense_cut)
        g->leaf_dense = sy_arena_take(a, "leaf of a cut cell", (size_t)p->n_dense, sizeof(float));
    else if (o->cell > 1 || o->seq_len > o->head_chunk)
        g->leaf_head = sy_arena_take(a, "leaf of the head", (size_t)(head->rows * head->cols), sizeof(float));
    if (cut((int64_t)o->cell * o->expert_lanes, o->max_sequences))
        g->leaf_experts = sy_arena_take(a, "leaf of cut experts", (size_t)(p->n_trained - p->n_dense), sizeof(float));
    if (!dense_cut) {
        int64_t widest = 0;
        for (int i = 0; i < p->n_params; i++)
            if (p->param[i].kind == SY_PARAM_VECTOR && p->param[i].cols > widest)
                widest = p->param[i].cols;
        g->leaf_vector = sy_arena_take(a, "leaf of a vector", (size_t)widest, sizeof(float));
        g->leaf_embedding =
            sy_arena_take(a, "leaf of the embedding", (size_t)(embedding->rows * embedding->cols), sizeof(float));
    }
    g->parts = sy_arena_take(a, "gradients", (size_t)o->max_sequences, sizeof *g->parts);
    return SY_OK;
}

sy_status sy_gradients_measure(const struct sy_gradients_options *o, struct sy_arena *arena) {
    struct sy_gradients g = {.o = *o};
    return lay_out(&g, arena);
}

void sy_gradients_destroy(struct sy_gradients *g) {
    if (!g)
        return;
    sy_arena_fini(&g->arena);
    free(g);
}

sy_status sy_gradients_create(const struct sy_gradients_options *o, struct sy_gradients **out) {
    struct sy_arena measure = sy_arena_measure();
    SY_TRY(sy_gradients_measure(o, &measure));
    SY_TRY(sy_arena_check(&measure, "gradients"));
    struct sy_gradients *g = calloc(1, sizeof *g);
    if (!g)
        SY_FAIL(SY_ERR_MEMORY, "no memory for gradients");
    g->o = *o;
    sy_status status = sy_arena_init(measure.used, "gradients (fewer numerics.lanes need fewer buffers)", &g->arena);
    if (status == SY_OK)
        status = lay_out(g, &g->arena);
    if (status == SY_OK)
        status = sy_arena_check(&g->arena, "gradients");
    if (status != SY_OK) {
        sy_gradients_destroy(g);
        return status;
    }
    const char *plant = o->plant ? o->plant : "";
    g->swap_sequences = strcmp(plant, "swap_sequences") == 0;
    g->shuffle_lanes = strcmp(plant, "shuffle_lanes") == 0;
    g->dense.in_turn = g->experts.in_turn = strcmp(plant, "lanes_in_turn") == 0;
    *out = g;
    return SY_OK;
}

void sy_gradients_begin(struct sy_gradients *g) {
    sy_tree_begin(&g->dense);
    sy_tree_begin(&g->experts);
}

void sy_gradients_batch(struct sy_gradients *g, int64_t first, int64_t n) {
    assert(n <= g->o.max_sequences);
    g->first = first;
    g->n = n;
}

/* --- leaves --------------------------------------------------------------------------------------------------- */

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

/* A lane's (or group's) last round: its accumulator is complete. */
static int last_round(const struct sy_gradients *g, struct place p) { return p.round == g->o.rounds - 1; }

static void finish_dense(struct sy_gradients *g, int param, struct place p) {
    const struct sy_param *q = &g->o.params->param[param];
    if (last_round(g, p))
        sy_tree_finish(&g->dense, g->o.exec, param, (int)p.lane, q->offset, q->rows * q->cols);
}

static float *dense_lane(struct sy_gradients *g, int param, struct place p) {
    const struct sy_param *q = &g->o.params->param[param];
    return sy_tree_lane(&g->dense, param, (int)p.lane, q->offset, q->rows * q->cols);
}

static void fold(struct sy_gradients *g, int64_t n, const float *leaf, float *sum) {
    g->o.exec->ops->add_f32(g->o.exec, &(struct sy_add_f32){.n = n, .x = leaf, .y = sum});
}

/* A piece of a leaf's chain. begins: from +0; ends: the leaf is complete and folded into `sum`. */
static void chain(struct sy_gradients *g, const struct sy_param *q, int n_parts, int begins, int ends, float *leaf,
                  float *sum) {
    struct sy_gemm op = {.m = q->rows, .n = q->cols, .parts = g->parts, .n_parts = n_parts};
    if (begins && ends) {
        op.out = SY_GEMM_FOLD;
        op.c = sy_mat_of(sum, SY_F32, q->cols);
        g->o.exec->ops->gemm(g->o.exec, &op, 1);
        return;
    }
    assert(leaf);
    op.acc = begins ? NULL : leaf;
    op.acc_row = q->cols;
    op.c = sy_mat_of(leaf, SY_F32, q->cols);
    g->o.exec->ops->gemm(g->o.exec, &op, 1);
    if (ends)
        fold(g, q->rows * q->cols, leaf, sum);
}

static float *leaf_of(struct sy_gradients *g, int param) {
    const struct sy_param *q = &g->o.params->param[param];
    if (q->kind == SY_PARAM_EXPERT)
        return g->leaf_experts ? g->leaf_experts + (q->offset - g->o.params->n_dense) : NULL;
    if (g->leaf_dense)
        return g->leaf_dense + q->offset;
    if (q->kind == SY_PARAM_EMBEDDING)
        return g->leaf_embedding;
    if (q->kind == SY_PARAM_VECTOR)
        return g->leaf_vector;
    return param == g->o.params->head ? g->leaf_head : NULL;
}

/* Tokens first..first+n-1 of the batch, cell by cell; a cell's sequences are parts of its chain. */
static void sink_matrix(void *self, int param, int64_t first, int64_t n, struct sy_mat dy, struct sy_mat x) {
    struct sy_gradients *g = self;
    const struct sy_param *q = &g->o.params->param[param];
    int64_t s = g->o.seq_len, end = first + n, t = first;
    while (t < end) {
        struct place begin = place_of(g, g->first + t / s);
        int begins = begin.w == 0 && t % s == 0, n_parts = 0, ends = 0;
        struct place p = begin;
        while (t < end && !ends) {
            p = place_of(g, g->first + t / s);
            int64_t stop = min64(end, (t / s + 1) * s);
            g->parts[n_parts++] =
                (struct sy_gemm_part){sy_mat_t(sy_mat_rows(dy, t - first)), sy_mat_rows(x, t - first), stop - t};
            ends = stop % s == 0 && p.w == g->o.cell - 1;
            t = stop;
        }
        chain(g, q, n_parts, begins, ends, leaf_of(g, param), dense_lane(g, param, p));
        if (ends)
            finish_dense(g, param, p);
    }
}

/* One expert's rows of the batch, leaf by leaf: a leaf is a round of a lane group. */
static void expert(struct sy_gradients *g, int param, const int64_t *offset, struct sy_mat dy, struct sy_mat x) {
    const struct sy_param *q = &g->o.params->param[param];
    int64_t leaf_sequences = (int64_t)g->o.cell * g->o.expert_lanes, b = 0;
    while (b < g->n) {
        int64_t k = g->first + b, in_leaf = k % leaf_sequences, stop = min64(g->n, b + leaf_sequences - in_leaf);
        int begins = in_leaf == 0, ends = (g->first + stop) % leaf_sequences == 0, n_parts = 0;
        for (int64_t i = b; i < stop; i++) {
            int64_t source = g->shuffle_lanes ? stop - 1 - (i - b) : i; /* planted */
            int64_t lo = offset[source], hi = offset[source + 1];
            if (hi > lo)
                g->parts[n_parts++] = (struct sy_gemm_part){sy_mat_t(sy_mat_rows(dy, lo)), sy_mat_rows(x, lo), hi - lo};
        }
        struct place p = place_of(g, g->first + stop - 1);
        int group = (int)(p.lane / g->o.expert_lanes);
        float *sum = sy_tree_lane(&g->experts, param, group, q->offset, q->rows * q->cols);
        if (n_parts > 0 || !(begins && ends))
            chain(g, q, n_parts, begins, ends, leaf_of(g, param), sum);
        if (ends && last_round(g, p))
            sy_tree_finish(&g->experts, g->o.exec, param, group, q->offset, q->rows * q->cols);
        b = stop;
    }
}

static void sink_experts(void *self, const struct sy_sink_experts *r) {
    struct sy_gradients *g = self;
    for (int64_t e = 0; e < r->experts; e++)
        expert(g, r->first_param + (int)e * r->param_step, r->offset + e * g->n, r->dy, r->x);
}

struct piece { /* of a vector's or the embedding's gradient: the batch's rows */
    int param;
    int64_t heads;
    struct sy_heads a, x;
    const float *r;
    const int32_t *ids;
    struct sy_mat dy;
};

static void add_vector(struct sy_gradients *g, const struct piece *q, int64_t b, float *leaf) {
    int64_t rows = g->o.seq_len * q->heads, t = b * g->o.seq_len;
    struct sy_heads a = q->a, x = q->x;
    a.data = sy_at(a.data, a.dtype, t * a.token);
    if (x.data)
        x.data = sy_at(x.data, x.dtype, t * x.token);
    g->o.exec->ops->row_sum(g->o.exec, &(struct sy_row_sum){.sequences = 1,
                                                            .rows_per_sequence = rows,
                                                            .heads = q->heads,
                                                            .d = g->o.params->param[q->param].cols,
                                                            .a = a,
                                                            .x = x,
                                                            .r = q->r ? q->r + b * rows : NULL,
                                                            .out = leaf});
}

static void add_embedding(struct sy_gradients *g, const struct piece *q, int64_t b, float *leaf) {
    const struct sy_param *e = &g->o.params->param[q->param];
    int64_t t = b * g->o.seq_len;
    g->o.exec->ops->scatter_add(g->o.exec, &(struct sy_scatter_add){.n = g->o.seq_len,
                                                                    .d = e->cols,
                                                                    .out_rows = e->rows,
                                                                    .index = q->ids + t,
                                                                    .src = sy_mat_rows(q->dy, t),
                                                                    .out = sy_mat_of(leaf, SY_F32, e->cols)});
}

/* Calls `add` with each whole sequence of the batch on the leaf of its cell, and folds complete leaves. */
static void by_sequence(struct sy_gradients *g, const struct piece *q,
                        void (*add)(struct sy_gradients *, const struct piece *, int64_t, float *)) {
    const struct sy_param *param = &g->o.params->param[q->param];
    int64_t n = param->rows * param->cols;
    float *leaf = leaf_of(g, q->param);
    for (int64_t b = 0; b < g->n; b++) {
        struct place p = place_of(g, g->first + b);
        if (p.w == 0)
            memset(leaf, 0, (size_t)n * sizeof(float));
        add(g, q, b, leaf);
        if (p.w == g->o.cell - 1) {
            fold(g, n, leaf, dense_lane(g, q->param, p));
            finish_dense(g, q->param, p);
        }
    }
}

static void sink_vector(void *self, int param, int64_t heads, struct sy_heads a, struct sy_heads x, const float *r) {
    by_sequence(self, &(struct piece){.param = param, .heads = heads, .a = a, .x = x, .r = r}, add_vector);
}

static void sink_embedding(void *self, int param, const int32_t *ids, struct sy_mat dy) {
    by_sequence(self, &(struct piece){.param = param, .ids = ids, .dy = dy}, add_embedding);
}

struct sy_grad_sink sy_gradients_sink(struct sy_gradients *g) {
    return (struct sy_grad_sink){g, sink_matrix, sink_experts, sink_vector, sink_embedding};
}

float *sy_gradients_root(const struct sy_gradients *g, int param) {
    const struct sy_param *q = &g->o.params->param[param];
    return sy_tree_root(q->kind == SY_PARAM_EXPERT ? &g->experts : &g->dense, param, q->offset);
}
