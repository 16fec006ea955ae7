/* Gradients over ranks: see reduce.h. */
#include "parallel/reduce.h"

#include <assert.h>
#include <stdlib.h>

enum { BUCKET = 1 << 20, ALIGN_FLOATS = 16 };

/* How the nodes of a group's ranks add up, one after another in the order of their lanes: the same for all
 * tensors. */
struct joining {
    int size, rank;            /* of the group */
    int *first;                /* [size + 1] number of a rank's first node */
    struct sy_tree_node *node; /* [first[size]] */
    int *to, *from;            /* [n_joins] numbers of nodes */
    int n_joins, root;
};

struct bucket {
    const struct joining *joining;
    int experts, n_tensors;
    const int *tensor;
    int64_t own; /* where this rank's part begins among its gradient */
};

struct sy_reduce {
    struct sy_reduce_options o;
    struct sy_owner owner;
    struct joining dense, experts;
    int *tensor;  /* [n_tensors] as they are completed, trained ones that this rank holds */
    int64_t *own; /* [n_tensors] this rank's part in its gradient, or -1 */
    struct bucket *bucket;
    int n_buckets;
    struct sy_add_item *add;
    int64_t *at[2]; /* [ranks + 1] bytes of what goes, of what comes */
    int64_t n_own;
    struct sy_arena arena;
    float *gradient; /* [n_own] */
    float *send, *recv;
};

static int is_alone(const struct sy_reduce *r) { return r->o.mesh->dp == 1; }

/* --- how nodes are joined --------------------------------------------------------------------------------- */

/* A node climbs while its sibling is absent, or waits on the stack. */
static void join_all(struct joining *j, int leaves) {
    int stack[SY_TREE_MAX_NODES], n = 0, levels = sy_tree_levels(leaves);
    struct sy_tree_node place[SY_TREE_MAX_NODES];
    for (int i = 0; i < j->first[j->size]; i++) {
        struct sy_tree_node q = j->node[i];
        int at = i;
        for (; q.level < levels; q = (struct sy_tree_node){q.level + 1, q.index / 2}) {
            int sibling = q.index ^ 1;
            if ((int64_t)sibling << q.level >= leaves)
                continue;
            if (n == 0 || place[n - 1].level != q.level || place[n - 1].index != sibling)
                break;
            j->to[j->n_joins] = stack[--n];
            j->from[j->n_joins++] = at;
            at = stack[n];
        }
        assert(n < SY_TREE_MAX_NODES);
        place[n] = q;
        stack[n++] = at;
    }
    assert(n == 1);
    j->root = stack[0];
}

struct lanes { /* of which rank are which leaves */
    int leaves;
    struct sy_share (*of)(const struct sy_mesh *mesh, int rank);
};

static sy_status list_nodes(const struct sy_mesh *m, const struct lanes *l, struct joining *j) {
    struct sy_tree_node nodes[SY_TREE_MAX_NODES];
    j->first = calloc((size_t)j->size + 1, sizeof *j->first);
    for (int r = 0; j->first && r < j->size; r++) {
        struct sy_share own = l->of(m, r);
        j->first[r + 1] = j->first[r] + sy_tree_maximal(l->leaves, (int)own.first, (int)own.n, nodes);
    }
    size_t n = j->first ? (size_t)j->first[j->size] : 0;
    j->node = calloc(n + 1, sizeof *j->node);
    j->to = calloc(n + 1, sizeof *j->to);
    j->from = calloc(n + 1, sizeof *j->from);
    if (!j->first || !j->node || !j->to || !j->from)
        SY_FAIL(SY_ERR_MEMORY, "no memory for the gradients' nodes of %d ranks", j->size);
    for (int r = 0; r < j->size; r++) {
        struct sy_share own = l->of(m, r);
        sy_tree_maximal(l->leaves, (int)own.first, (int)own.n, j->node + j->first[r]);
    }
    join_all(j, l->leaves);
    return SY_OK;
}

static void free_joining(struct joining *j) {
    free(j->first);
    free(j->node);
    free(j->to);
    free(j->from);
}

/* --- buckets ---------------------------------------------------------------------------------------------- */

static const struct sy_tensor *tensor_of(const struct sy_reduce *r, int tensor) {
    return &r->o.params->tensor[tensor];
}
static const struct sy_param *param_of(const struct sy_reduce *r, int tensor) {
    return &r->o.params->param[tensor_of(r, tensor)->param];
}
static int is_expert(const struct sy_reduce *r, int tensor) {
    return param_of(r, tensor)->kind == SY_PARAM_EXPERT;
}

/* When backward completes it: the head, then layers from the last on, in each the experts first, then the
 * embedding. */
static int64_t turn_of(const struct sy_reduce *r, int tensor) {
    const struct sy_params *p = r->o.params;
    const struct sy_param *q = param_of(r, tensor);
    if (q->kind == SY_PARAM_EMBEDDING)
        return INT64_MAX;
    int64_t layers = q->layer < 0 ? 0 : p->n_layers - q->layer;
    return (2 * layers + (q->kind != SY_PARAM_EXPERT)) * ((int64_t)p->n_tensors + 1) + tensor;
}

struct turn {
    int64_t when;
    int tensor;
};
static int by_turn(const void *a, const void *b) {
    int64_t x = ((const struct turn *)a)->when, y = ((const struct turn *)b)->when;
    return (x > y) - (x < y);
}

static sy_status list_tensors(struct sy_reduce *r, int *n_tensors) {
    const struct sy_params *p = r->o.params;
    struct turn *turn = calloc((size_t)p->n_tensors + 1, sizeof *turn);
    int n = 0;
    if (!turn)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a list of %d gradients", p->n_tensors);
    for (int i = 0; i < p->n_tensors; i++)
        if (param_of(r, i)->kind != SY_PARAM_BUFFER && sy_owner_holds(&r->owner, param_of(r, i)))
            turn[n++] = (struct turn){turn_of(r, i), i};
    qsort(turn, (size_t)n, sizeof *turn, by_turn);
    for (int i = 0; i < n; i++)
        r->tensor[i] = turn[i].tensor;
    free(turn);
    *n_tensors = n;
    return SY_OK;
}

static int64_t up(int64_t n) { return (n + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS; }

static struct sy_range_of part_of(const struct sy_reduce *r, const struct bucket *b, int tensor, int rank) {
    const struct sy_mesh *m = r->o.mesh;
    int part = b->experts ? sy_mesh_expert_part(m, rank) : sy_mesh_dense_part(m, rank);
    return sy_shard_range(&(struct sy_shard){part, b->joining->size}, tensor_of(r, tensor)->n);
}

/* Floats of a node that one rank owns. */
static int64_t stride_of(const struct sy_reduce *r, const struct bucket *b, int rank) {
    int64_t n = 0;
    for (int i = 0; i < b->n_tensors; i++)
        n += up(part_of(r, b, b->tensor[i], rank).n);
    return n;
}

/* Whether dense buckets end before a tensor: where a layer's experts stand, also on a rank that has none of
 * them, so that all ranks have the same. */
static int ends_dense(const struct sy_reduce *r, int i) {
    int layer = param_of(r, r->tensor[i])->layer;
    return i > 0 && layer >= 0 && layer != param_of(r, r->tensor[i - 1])->layer &&
           r->o.params->layer[layer].first_expert >= 0;
}

static void fill_buckets(struct sy_reduce *r, int n_tensors) {
    int64_t filled = 0;
    for (int i = 0; i < n_tensors; i++) {
        int experts = is_expert(r, r->tensor[i]);
        int64_t n = tensor_of(r, r->tensor[i])->n;
        struct bucket *b = r->n_buckets ? &r->bucket[r->n_buckets - 1] : NULL;
        if (!b || b->experts != experts || filled + n > BUCKET || ends_dense(r, i)) {
            b = &r->bucket[r->n_buckets++];
            *b = (struct bucket){.joining = experts ? &r->experts : &r->dense,
                                 .experts = experts,
                                 .tensor = r->tensor + i,
                                 .own = r->n_own};
            filled = 0;
        }
        filled += n;
        b->n_tensors++;
        r->own[r->tensor[i]] = r->n_own;
        r->n_own += up(part_of(r, b, r->tensor[i], b->joining->rank).n);
    }
}

/* --- creation --------------------------------------------------------------------------------------------- */

static struct sy_share lanes_of(const struct sy_mesh *m, int rank) { return sy_mesh_lanes(m, rank); }
static struct sy_share groups_of(const struct sy_mesh *m, int rank) { return sy_mesh_lane_groups(m, rank); }

static sy_status make_lists(struct sy_reduce *r) {
    const struct sy_mesh *m = r->o.mesh;
    size_t n = (size_t)r->o.params->n_tensors + 1;
    r->tensor = calloc(n, sizeof *r->tensor);
    r->own = calloc(n, sizeof *r->own);
    r->bucket = calloc(n, sizeof *r->bucket);
    for (int i = 0; i < 2; i++)
        r->at[i] = calloc((size_t)m->dp + 1, sizeof *r->at[i]);
    if (!r->tensor || !r->own || !r->bucket || !r->at[0] || !r->at[1])
        SY_FAIL(SY_ERR_MEMORY, "no memory for a list of %d gradients", r->o.params->n_tensors);
    r->dense = (struct joining){.size = m->dp, .rank = m->dp_rank};
    r->experts = (struct joining){.size = m->edp, .rank = m->edp_rank};
    SY_TRY(list_nodes(m, &(struct lanes){m->lanes, lanes_of}, &r->dense));
    SY_TRY(list_nodes(m, &(struct lanes){m->lanes / m->expert_lanes, groups_of}, &r->experts));
    if (!(r->add = calloc((size_t)r->dense.first[m->dp] + (size_t)r->experts.first[m->edp], sizeof *r->add)))
        SY_FAIL(SY_ERR_MEMORY, "no memory to join the nodes of %d ranks", m->dp);
    int n_tensors = 0;
    if (!is_alone(r))
        SY_TRY(list_tensors(r, &n_tensors));
    fill_buckets(r, n_tensors);
    return SY_OK;
}

static sy_status shell(const struct sy_reduce_options *o, struct sy_reduce **out) {
    struct sy_reduce *r = calloc(1, sizeof *r);
    if (!r)
        SY_FAIL(SY_ERR_MEMORY, "no memory for the gradients over ranks");
    r->o = *o;
    r->owner = sy_mesh_owner(o->mesh, o->mesh->rank);
    sy_status status = make_lists(r);
    if (status != SY_OK) {
        sy_reduce_destroy(r);
        return status;
    }
    *out = r;
    return SY_OK;
}

static void carve(void *self, struct sy_arena *a) {
    struct sy_reduce *r = self;
    int64_t send = 0, recv = 0;
    for (int i = 0; i < r->n_buckets; i++) {
        const struct bucket *b = &r->bucket[i];
        const struct joining *j = b->joining;
        int64_t mine = j->first[j->rank + 1] - j->first[j->rank], goes = 0,
                comes = stride_of(r, b, j->rank) * j->first[j->size];
        for (int to = 0; to < j->size; to++)
            goes += to == j->rank ? 0 : mine * stride_of(r, b, to);
        send = goes > send ? goes : send;
        recv = comes > recv ? comes : recv;
    }
    r->gradient = sy_take_f32(a, "gradients of owned parts", r->n_own);
    r->send = sy_take_f32(a, "gradients on the way", send);
    r->recv = sy_take_f32(a, "gradients on the way", recv);
}

sy_status sy_reduce_measure(const struct sy_reduce_options *o, struct sy_arena *arena) {
    struct sy_reduce *r;
    SY_TRY(shell(o, &r));
    if (!is_alone(r))
        carve(r, arena);
    sy_reduce_destroy(r);
    return SY_OK;
}

sy_status sy_reduce_create(const struct sy_reduce_options *o, struct sy_reduce **out) {
    struct sy_reduce *r;
    SY_TRY(shell(o, &r));
    sy_status status =
        is_alone(r) ? SY_OK : sy_arena_build(o->exec->device, "gradients over ranks", carve, r, &r->arena);
    if (status != SY_OK) {
        sy_reduce_destroy(r);
        return status;
    }
    *out = r;
    return SY_OK;
}

void sy_reduce_destroy(struct sy_reduce *r) {
    if (!r)
        return;
    sy_arena_fini(&r->arena);
    free_joining(&r->dense);
    free_joining(&r->experts);
    free(r->tensor);
    free(r->own);
    free(r->bucket);
    free(r->add);
    free(r->at[0]);
    free(r->at[1]);
    free(r);
}

/* --- a bucket --------------------------------------------------------------------------------------------- */

/* One owner's part of all this rank's nodes: node by node, tensor by tensor. */
static void pack(const struct sy_reduce *r, const struct bucket *b, int owner, float *to) {
    const struct joining *j = b->joining;
    for (int node = j->first[j->rank]; node < j->first[j->rank + 1]; node++)
        for (int i = 0; i < b->n_tensors; i++) {
            const struct sy_tensor *t = tensor_of(r, b->tensor[i]);
            struct sy_range_of part = part_of(r, b, b->tensor[i], owner);
            const float *from = sy_gradients_sum(r->o.gradients, t->param, j->node[node]) +
                                t->first_row * param_of(r, b->tensor[i])->cols + part.first;
            if (part.n > 0)
                r->o.exec->ops->copy(
                    r->o.exec, &(struct sy_copy){.rows = 1, .bytes = part.n * 4, .from = from, .to = to});
            to += up(part.n);
        }
}

/* Where a node's part stands among what comes, in nodes: this rank's own ones behind the others'. */
static int place_of(const struct joining *j, int node) {
    int lo = j->first[j->rank], hi = j->first[j->rank + 1];
    return node < lo ? node : node >= hi ? node - (hi - lo) : j->first[j->size] - (hi - lo) + (node - lo);
}

static void set_out(struct sy_reduce *r, const struct bucket *b) {
    const struct joining *j = b->joining;
    int64_t stride = stride_of(r, b, j->rank), mine = j->first[j->rank + 1] - j->first[j->rank], sent = 0;
    for (int to = 0; to < j->size; to++) {
        r->at[0][to] = sent * 4;
        r->at[1][to] = (j->first[to] - (to > j->rank ? mine : 0)) * stride * 4;
        if (to == j->rank) {
            pack(r, b, to, r->recv + place_of(j, j->first[to]) * stride);
        } else {
            pack(r, b, to, r->send + sent);
            sent += mine * stride_of(r, b, to);
        }
    }
    r->at[0][j->size] = sent * 4;
    r->at[1][j->size] = (j->first[j->size] - mine) * stride * 4;
}

static void join(struct sy_reduce *r, const struct bucket *b) {
    const struct joining *j = b->joining;
    const struct sy_exec *x = r->o.exec;
    int64_t stride = stride_of(r, b, j->rank);
    if (stride == 0)
        return;
    for (int i = 0; i < j->n_joins; i++)
        r->add[i] = (struct sy_add_item){stride, r->recv + place_of(j, j->from[i]) * stride,
                                         r->recv + place_of(j, j->to[i]) * stride};
    if (j->n_joins > 0)
        x->ops->add_f32(x, &(struct sy_add_f32){r->add, j->n_joins});
    x->ops->copy(x, &(struct sy_copy){.rows = 1,
                                      .bytes = stride * 4,
                                      .from = r->recv + place_of(j, j->root) * stride,
                                      .to = r->gradient + b->own});
}

static sy_status run(struct sy_reduce *r, const struct bucket *b, sy_status mine) {
    const struct sy_comm *c = b->experts ? &r->o.groups->edp : &r->o.groups->dp;
    const struct sy_device *d = r->o.exec->device;
    if (mine == SY_OK) {
        set_out(r, b);
        mine = sy_exec_wait(r->o.exec);
    }
    SY_TRY(c->ops->all_to_all(c, mine, d->alias(d, r->send), r->at[0], d->alias(d, r->recv), r->at[1]));
    join(r, b);
    return SY_OK;
}

sy_status sy_reduce_run(struct sy_reduce *r, sy_status mine) {
    sy_status status = mine;
    for (int i = 0; i < r->n_buckets; i++)
        status = run(r, &r->bucket[i], status);
    return is_alone(r) ? mine : r->o.groups->dp.ops->agree(&r->o.groups->dp, status);
}

float *sy_reduce_own(const struct sy_reduce *r, int tensor) {
    const struct sy_tensor *t = tensor_of(r, tensor);
    if (is_alone(r))
        return sy_gradients_root(r->o.gradients, t->param) + t->first_row * param_of(r, tensor)->cols;
    return sy_owner_range(&r->owner, r->o.params, tensor).n > 0 ? r->gradient + r->own[tensor] : NULL;
}
