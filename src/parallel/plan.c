/* What a run over ranks moves, and how long a step takes: see plan.h. */
#include "parallel/plan.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "parallel/calls.h"
#include "parallel/tree.h"

const char *const sy_traffic_names[SY_TRAFFIC_KINDS] = {
    "weights, from their owners", "gradients, to the owners", "rows, to experts and back",
    "residual stream, between stages"};

enum { F32 = 4 };

/* --- what a rank has ------------------------------------------------------------------------------------ */

static int stage_of(const struct sy_plan *p, int param) {
    return sy_stages_of(&p->mesh.stages, &p->params->param[param]);
}

struct place { /* of a rank */
    int pp, dp, ep, edp;
};
static struct place place_of(const struct sy_mesh *m, int rank) {
    int dp = rank % m->dp;
    return (struct place){rank / m->dp, dp, dp % m->ep, dp / m->ep};
}

static int is_expert(const struct sy_param *q) { return q->kind == SY_PARAM_EXPERT; }

/* Whether a rank has the parameter and it is trained. */
static int holds(const struct sy_plan *p, const struct sy_owner *own, int param) {
    const struct sy_param *q = &p->params->param[param];
    return q->kind != SY_PARAM_BUFFER && sy_owner_holds(own, q);
}

struct sy_plan_elements sy_plan_elements_of(const struct sy_plan *p, int rank) {
    struct sy_owner own = sy_mesh_owner(&p->mesh, rank);
    struct sy_plan_elements e = {0};
    for (int i = 0; i < p->params->n_tensors; i++) {
        const struct sy_tensor *t = &p->params->tensor[i];
        int expert = is_expert(&p->params->param[t->param]);
        if (!holds(p, &own, t->param))
            continue;
        *(expert ? &e.experts : &e.dense) += t->n;
        *(expert ? &e.own_experts : &e.own_dense) += sy_owner_range(&own, p->params, i).n;
    }
    return e;
}

static struct sy_walk walk_of(const struct sy_plan *p) {
    const struct sy_config *c = p->config;
    return (struct sy_walk){.lanes = (int)c->numerics.lanes,
                            .expert_lanes = (int)c->numerics.expert_lanes,
                            .cell = (int)c->numerics.cell,
                            .rounds = c->training.global_batch_size / (c->numerics.lanes * c->numerics.cell),
                            .n_lanes = (int)c->numerics.lanes};
}

int64_t sy_plan_sequences(const struct sy_plan *p, int dp_rank) {
    struct sy_walk all = walk_of(p), w = sy_walk_of(&p->mesh, dp_rank, &all);
    return sy_walk_length(&w);
}

/* The largest micro-batch of rank 0's group, and how many there are. */
static sy_status set_batches(struct sy_plan *p, int *n) {
    struct sy_walk all = walk_of(p), walk = sy_walk_of(&p->mesh, 0, &all);
    struct sy_calls calls;
    SY_TRY(sy_calls_init(&p->mesh, &walk, p->config->training.local_batch_size, &calls));
    p->batch = calls.max_sequences;
    *n = calls.n < INT_MAX ? (int)calls.n : INT_MAX;
    sy_calls_fini(&calls);
    return SY_OK;
}

/* --- bytes ---------------------------------------------------------------------------------------------- */

/* Of the other ranks of a group of `size`, `step` ranks apart, of which `rank` is one at `place`: the
 * share that is in its node. */
static double near_share(const struct sy_plan *p, int rank, int place, int size, int step) {
    int near = 0, node = p->gpu->node;
    for (int i = 0; i < size; i++)
        near += i != place && (rank + (i - place) * step) / node == rank / node;
    return size > 1 ? (double)near / (size - 1) : 0;
}

static struct sy_plan_bytes bytes(double sent, double share) {
    return (struct sy_plan_bytes){sent, sent * share};
}

static void add(struct sy_plan_bytes *to, struct sy_plan_bytes b) {
    to->sent += b.sent;
    to->near += b.near;
}

static int64_t stored_bytes(const struct sy_plan *p, const struct sy_param *q) {
    return q->kind == SY_PARAM_VECTOR || p->config->numerics.class == SY_CLASS_FP32 ? F32 : 2;
}

/* Elements that a rank keeps of a tensor. */
static int64_t kept_of(const struct sy_plan *p, const struct place *at, int tensor) {
    const struct sy_mesh *m = &p->mesh;
    const struct sy_tensor *t = &p->params->tensor[tensor];
    int e = is_expert(&p->params->param[t->param]), copies = e ? m->expert_replicate : m->replicate;
    int which = e ? at->edp % m->expert_shard : at->dp % m->shard, all = e ? m->edp : m->dp;
    struct sy_range_of first = sy_shard_range(&(struct sy_shard){which * copies, all}, t->n),
                       last = sy_shard_range(&(struct sy_shard){which * copies + copies - 1, all}, t->n);
    return last.first + last.n - first.first;
}

/* What a rank sends of a tensor: what it owns to the ranks that keep the same, and, of sharded weights,
 * what it keeps to the others of its shard group, as often as the layer is gathered. */
static double stored_sent(const struct sy_plan *p, const struct place *at, int tensor, int64_t own) {
    const struct sy_mesh *m = &p->mesh;
    const struct sy_param *q = &p->params->param[p->params->tensor[tensor].param];
    int e = is_expert(q), shard = e ? m->expert_shard : m->shard,
        copies = e ? m->expert_replicate : m->replicate;
    int64_t kept = kept_of(p, at, tensor);
    int times = q->layer < 0 ? 1 : p->gathers[at->pp * m->stages.layers + q->layer];
    return (double)stored_bytes(p, q) * ((double)own * (copies - 1) + (double)kept * (shard - 1) * times);
}

/* Of a tied embedding's n elements: the head's gradient to the first stage, what is stored to the last. */
static void tied_sent(const struct sy_plan *p, int rank, int tensor, int64_t n, struct sy_plan_bytes out[]) {
    const struct sy_param *q = &p->params->param[p->params->tensor[tensor].param];
    int hop = (p->mesh.pp - 1) * p->mesh.dp, is_head = q->kind == SY_PARAM_SITE, node = p->gpu->node;
    if (p->params->n_sites == 0 || hop == 0)
        return;
    double near = (is_head ? rank - hop : rank + hop) / node == rank / node;
    add(&out[is_head ? SY_TRAFFIC_GRADIENTS : SY_TRAFFIC_WEIGHTS],
        bytes((double)(n * (is_head ? F32 : stored_bytes(p, q))), near));
}

/* Stored weights from who has the masters, gradients to them: of dense parameters over the data-parallel
 * ranks, of experts over those that have the same ones. */
static void parameters_sent(const struct sy_plan *p, int rank, struct sy_plan_bytes out[]) {
    const struct sy_mesh *m = &p->mesh;
    struct place at = place_of(m, rank);
    struct sy_owner own = sy_mesh_owner(m, rank);
    struct sy_share lanes = sy_mesh_lanes(m, at.dp), groups = sy_mesh_lane_groups(m, at.edp);
    double near[2] = {near_share(p, rank, at.dp, m->dp, 1), near_share(p, rank, at.edp, m->edp, m->ep)};
    struct sy_tree_node node[SY_TREE_MAX_NODES];
    int nodes[2] = {sy_tree_maximal(m->lanes, (int)lanes.first, (int)lanes.n, node),
                    sy_tree_maximal(m->lanes / m->expert_lanes, (int)groups.first, (int)groups.n, node)};
    for (int i = 0; i < p->params->n_tensors + p->params->n_sites; i++) {
        const struct sy_tensor *t = &p->params->tensor[i];
        int e = is_expert(&p->params->param[t->param]), is_site = i >= p->params->n_tensors;
        int64_t n = sy_owner_range(&own, p->params, i).n;
        if (sy_owner_borrows(&own, p->params, t->param))
            add(&out[SY_TRAFFIC_WEIGHTS], bytes(stored_sent(p, &at, i, 0), near[e]));
        if (!holds(p, &own, t->param))
            continue;
        if (!is_site)
            add(&out[SY_TRAFFIC_WEIGHTS], bytes(stored_sent(p, &at, i, n), near[e]));
        add(&out[SY_TRAFFIC_GRADIENTS], bytes((double)(nodes[e] * (t->n - n) * F32), near[e]));
        if (is_site)
            tied_sent(p, rank, i, n, out);
        if (t->param == p->params->embedding)
            tied_sent(p, rank, i, kept_of(p, &at, i), out);
    }
}

/* Rows of a balanced router that leave the rank: forward there and back, there again if they are recomputed;
 * backward there and back; weights of routes beside them. */
static double rows_sent(const struct sy_plan *p, int64_t sequences, int layers) {
    const struct sy_config *c = p->config;
    const struct sy_mesh *m = &p->mesh;
    int again = c->activation_checkpoint.mode == SY_AC_FULL, weighted = !c->moe.score_before_experts;
    double rows = (double)(sequences * c->training.seq_len * c->moe.top_k) * (m->ep - 1) / m->ep;
    double row = (double)(c->model.dim * (c->numerics.class == SY_CLASS_FP32 ? 4 : 2));
    double counts = (c->debug.moe_force_load_balance ? 0 : 1.0 + again) *
                    (double)(m->experts * sequences * 8) * (m->ep - 1) / m->ep;
    return layers * (rows * ((4 + again) * row + weighted * (2 + again) * F32) + counts);
}

static int moe_layers(const struct sy_plan *p, int stage) {
    struct sy_share own = sy_mesh_layers(&p->mesh, stage);
    int64_t dense = p->config->model.n_dense_layers - own.first;
    return (int)(own.n - (dense < 0 ? 0 : dense < own.n ? dense : own.n));
}

static double boundary_bytes(const struct sy_plan *p, int64_t sequences) {
    return (double)(sequences * p->config->training.seq_len * p->config->model.dim *
                    (p->config->numerics.class == SY_CLASS_FP32 ? 4 : 2));
}

static void activations_sent(const struct sy_plan *p, int rank, struct sy_plan_bytes out[]) {
    const struct sy_mesh *m = &p->mesh;
    struct place at = place_of(m, rank);
    int64_t sequences = sy_plan_sequences(p, at.dp);
    double near = near_share(p, rank, at.ep, m->ep, 1), hop = near_share(p, rank, at.pp, m->pp, m->dp);
    for (int s = at.pp; s < m->stages.n; s += m->pp) {
        int ways = (s > 0) + (s < m->stages.n - 1);
        if (m->ep > 1)
            add(&out[SY_TRAFFIC_EXPERTS], bytes(rows_sent(p, sequences, moe_layers(p, s)), near));
        add(&out[SY_TRAFFIC_STAGES], bytes(ways * boundary_bytes(p, sequences), hop));
    }
}

void sy_plan_sent(const struct sy_plan *p, int rank, struct sy_plan_bytes out[SY_TRAFFIC_KINDS]) {
    for (int k = 0; k < SY_TRAFFIC_KINDS; k++)
        out[k] = (struct sy_plan_bytes){0, 0};
    parameters_sent(p, rank, out);
    activations_sent(p, rank, out);
}

/* --- FLOPs and times ------------------------------------------------------------------------------------ */

/* Products of a token with the weights of a stage's layers. */
static double linear_flops(const struct sy_plan *p, int stage) {
    double n = 0;
    for (int i = 0; i < p->params->n_params; i++) {
        const struct sy_param *q = &p->params->param[i];
        int counts = q->kind == SY_PARAM_MATRIX || (is_expert(q) && q->expert < p->config->moe.top_k);
        if (counts && q->layer >= 0 && stage_of(p, i) == stage)
            n += 2.0 * (double)(q->rows * q->cols);
    }
    return n;
}

static double head_flops(const struct sy_plan *p, int stage) {
    return stage == p->mesh.stages.n - 1 ? 2.0 * (double)(p->config->model.vocab_size * p->config->model.dim)
                                         : 0;
}

static double attention_flops(const struct sy_plan *p, int stage) {
    const struct sy_config_model *m = &p->config->model;
    int mla = m->attention == SY_ATTENTION_MLA;
    double qk = (double)(mla ? m->qk_nope_head_dim + m->qk_rope_head_dim : m->head_dim);
    double v = (double)(mla ? m->v_head_dim : m->head_dim);
    double pairs = (double)(sy_mesh_layers(&p->mesh, stage).n * m->n_heads * p->config->training.seq_len) / 2;
    return 2.0 * pairs * (qk + v);
}

static double tokens_of(const struct sy_plan *p) { return (double)(p->batch * p->config->training.seq_len); }

double sy_plan_forward_flops(const struct sy_plan *p, int stage) {
    return tokens_of(p) * (linear_flops(p, stage) + attention_flops(p, stage) + head_flops(p, stage));
}

/* Seconds of what a rank sends over both kinds of links, which work at the same time. */
static double link_seconds(const struct sy_plan *p, struct sy_plan_bytes b) {
    double near = b.near / p->gpu->near, far = (b.sent - b.near) / p->gpu->far;
    return near > far ? near : far;
}

/* Seconds of one exchange of rows of a micro-batch over all MoE layers of a stage. */
static double exchange_seconds(const struct sy_plan *p, int stage) {
    const struct sy_config *c = p->config;
    const struct sy_mesh *m = &p->mesh;
    double rows = tokens_of(p) * (double)c->moe.top_k * (m->ep - 1) / m->ep * moe_layers(p, stage);
    double near = near_share(p, 0, 0, m->ep, 1), row = (double)(c->model.dim * 2);
    double each = m->ep > 1 ? moe_layers(p, stage) * p->gpu->latency : 0;
    return each + link_seconds(p, bytes(rows * row, near));
}

/* The head's gradients are made with its forward; attention has no weights. */
static void set_times(struct sy_plan *p) {
    const struct sy_plan_gpu *g = p->gpu;
    double speed = g->peak * g->products, t = tokens_of(p), ns = 1e9;
    int full = p->config->activation_checkpoint.mode == SY_AC_FULL;
    for (int s = 0; s < p->mesh.stages.n; s++) {
        double linear = linear_flops(p, s) * t / speed,
               attention = attention_flops(p, s) * t / (g->peak * g->attention);
        double head = head_flops(p, s) * t / speed, rows = exchange_seconds(p, s);
        p->of_stage[s] = (struct sy_schedule_times){
            (int64_t)(ns * (linear + attention + 3 * head + 2 * rows)),
            (int64_t)(ns * (linear + 2 * attention + 2 * rows + full * (linear + attention + rows))),
            (int64_t)(ns * linear)};
    }
}

/* Share of the time between a rank's first and last step, and around it, in which it has none. */
static double bubble_of(const struct sy_schedule *s) {
    double busy = 0;
    for (int i = 0; i < s->shape.ranks * s->n_each; i++)
        busy += (double)(s->step[i].end - s->step[i].begin);
    return s->length > 0 ? 1.0 - busy / ((double)s->length * s->shape.ranks) : 0;
}

static sy_status set_step(struct sy_plan *p) {
    struct sy_plan_bytes sent[SY_TRAFFIC_KINDS];
    double message = boundary_bytes(p, p->batch) / p->gpu->far + p->gpu->latency;
    set_times(p);
    SY_TRY(sy_schedule_time(p->schedule, p->of_stage, (int64_t)(1e9 * message)));
    p->pipeline = (double)p->schedule->length / 1e9;
    p->bubble = bubble_of(p->schedule);
    for (int r = 0; r < p->mesh.world; r += p->mesh.dp) {
        sy_plan_sent(p, r, sent);
        struct sy_plan_elements e = sy_plan_elements_of(p, r);
        /* a master, two moments read and written, a gradient read, a stored weight written */
        double update = (double)(e.own_dense + e.own_experts) * (6 * F32 + F32 + 2) / p->gpu->hbm;
        p->weights = fmax(p->weights, link_seconds(p, sent[SY_TRAFFIC_WEIGHTS]));
        p->gradients = fmax(p->gradients, link_seconds(p, sent[SY_TRAFFIC_GRADIENTS]));
        p->update = fmax(p->update, update);
    }
    p->step = p->pipeline + p->weights + p->gradients + p->update;
    return SY_OK;
}

/* --- creation ------------------------------------------------------------------------------------------- */

static sy_status fill(struct sy_plan *p, int world) {
    const struct sy_config *c = p->config;
    SY_TRY(sy_mesh_create(c, world, 0, &p->mesh));
    int micro_batches;
    SY_TRY(set_batches(p, &micro_batches));
    p->of_stage = calloc((size_t)p->mesh.stages.n, sizeof *p->of_stage);
    if (!p->of_stage)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a plan of %d stages", p->mesh.stages.n);
    SY_TRY(sy_schedule_create(&(struct sy_schedule_shape){c->parallelism.pipeline_parallel_schedule,
                                                          p->mesh.pp, p->mesh.stages.n, micro_batches},
                              &p->schedule));
    p->gathers = calloc((size_t)(p->mesh.pp * p->mesh.stages.layers) + 1, sizeof *p->gathers);
    if (!p->gathers)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a plan of %d stages", p->mesh.stages.n);
    for (int r = 0; r < p->mesh.pp; r++)
        sy_plan_gathers(p, r, p->gathers + r * p->mesh.stages.layers);
    return set_step(p);
}

sy_status sy_plan_create(const struct sy_config *c, const struct sy_params *params, int world,
                         const struct sy_plan_gpu *gpu, struct sy_plan **out) {
    struct sy_plan *p = calloc(1, sizeof *p);
    if (!p)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a plan");
    *p = (struct sy_plan){.config = c, .params = params, .gpu = gpu};
    sy_status status = fill(p, world);
    if (status != SY_OK) {
        sy_plan_destroy(p);
        return status;
    }
    *out = p;
    return SY_OK;
}

void sy_plan_destroy(struct sy_plan *p) {
    if (!p)
        return;
    sy_schedule_destroy(p->schedule);
    free(p->of_stage);
    free(p->gathers);
    free(p);
}
