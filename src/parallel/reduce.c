/* Gradients over ranks: see reduce.h. */
#include "parallel/reduce.h"

#include <stdlib.h>

#include "parallel/joining.h"
#include "parallel/place.h"
#include "parallel/tied.h"

enum { BUCKET = 1 << 20, ALIGN_FLOATS = 16, FLIGHTS = 2 };

struct bucket {
    const struct sy_joining *joining;
    int experts, n_tensors;
    const int *tensor;
    int64_t own; /* where this rank's part begins among its gradient */
};

struct flight { /* of a bucket */
    struct sy_comm_request request;
    int64_t *at[2]; /* [ranks + 1] bytes of what goes, of what comes */
    float *send, *recv;
};

struct sy_reduce {
    struct sy_reduce_options o;
    struct sy_owner owner;
    struct sy_joining dense, experts;
    int *tensor;  /* as they are completed, trained ones that this rank holds and others, too; sites alike */
    int64_t *own; /* [n_tensors + n_sites] this rank's part in its gradient */
    struct bucket *bucket;
    int n_buckets;
    struct sy_add_item *add;
    struct sy_tied tied;
    int64_t n_own, sent;
    struct sy_arena arena;
    float *gradient;               /* [n_own] */
    struct flight flight[FLIGHTS]; /* bucket i: i mod FLIGHTS */
    int begun, done;               /* buckets of this step */
    struct sy_first_failure first; /* of those that are done */
};

/* --- buckets -------------------------------------------------------------------------------------------- */

static int n_sums(const struct sy_reduce *r) { return r->o.params->n_tensors + r->o.params->n_sites; }
static const struct sy_tensor *tensor_of(const struct sy_reduce *r, int tensor) {
    return &r->o.params->tensor[tensor];
}
static const struct sy_param *param_of(const struct sy_reduce *r, int tensor) {
    return &r->o.params->param[tensor_of(r, tensor)->param];
}
static int is_expert(const struct sy_reduce *r, int tensor) {
    return param_of(r, tensor)->kind == SY_PARAM_EXPERT;
}
/* Of one rank alone the gradient is the root of its tree. */
static int is_alone(const struct sy_reduce *r, int tensor) {
    return (is_expert(r, tensor) ? r->o.mesh->edp : r->o.mesh->dp) == 1;
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
    struct turn *turn = calloc((size_t)n_sums(r) + 1, sizeof *turn);
    int n = 0;
    if (!turn)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a list of %d gradients", n_sums(r));
    for (int i = 0; i < n_sums(r); i++)
        if (param_of(r, i)->kind != SY_PARAM_BUFFER && sy_owner_holds(&r->owner, param_of(r, i)) &&
            !is_alone(r, i))
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

/* A bucket is of one layer and kind: on ranks that hold other experts, or none, the others are cut alike. */
static void fill_buckets(struct sy_reduce *r, int n_tensors) {
    int64_t filled = 0;
    for (int i = 0; i < n_tensors; i++) {
        int experts = is_expert(r, r->tensor[i]);
        int64_t n = tensor_of(r, r->tensor[i])->n;
        struct bucket *b = r->n_buckets ? &r->bucket[r->n_buckets - 1] : NULL;
        if (!b || b->experts != experts || filled + n > BUCKET ||
            param_of(r, b->tensor[0])->layer != param_of(r, r->tensor[i])->layer) {
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

/* --- creation ------------------------------------------------------------------------------------------- */

/* The leaves of each rank of a group: lanes of the data-parallel ranks, lane groups of those with the same
 * experts. */
static sy_status make_joinings(struct sy_reduce *r) {
    const struct sy_mesh *m = r->o.mesh;
    struct sy_share *of = calloc((size_t)m->dp, sizeof *of);
    if (!of)
        SY_FAIL(SY_ERR_MEMORY, "no memory for the lanes of %d ranks", m->dp);
    for (int i = 0; i < m->dp; i++)
        of[i] = sy_mesh_lanes(m, i);
    sy_status status = sy_joining_init(of, m->dp, m->dp_rank, m->lanes, &r->dense);
    for (int i = 0; i < m->edp; i++)
        of[i] = sy_mesh_lane_groups(m, i);
    if (status == SY_OK)
        status = sy_joining_init(of, m->edp, m->edp_rank, m->lanes / m->expert_lanes, &r->experts);
    free(of);
    if (status == SY_OK && r->o.in_turn) {
        sy_joining_in_turn(&r->dense);
        sy_joining_in_turn(&r->experts);
    }
    return status;
}

static sy_status make_lists(struct sy_reduce *r) {
    const struct sy_mesh *m = r->o.mesh;
    size_t n = (size_t)n_sums(r) + 1, failed = 0;
    SY_TRY(make_joinings(r));
    SY_TRY(sy_tied_init(&(struct sy_tied_options){r->o.params, r->o.exec, m, r->o.groups}, &r->tied));
    r->tensor = calloc(n, sizeof *r->tensor);
    r->own = calloc(n, sizeof *r->own);
    r->bucket = calloc(n, sizeof *r->bucket);
    r->add = calloc((size_t)r->dense.first[m->dp] + (size_t)r->experts.first[m->edp], sizeof *r->add);
    for (int i = 0; i < 2 * FLIGHTS; i++)
        failed += !(r->flight[i / 2].at[i % 2] = calloc((size_t)m->dp + 1, sizeof(int64_t)));
    if (failed || !r->tensor || !r->own || !r->bucket || !r->add)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a list of %d gradients", r->o.params->n_tensors);
    int n_tensors = 0;
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
        const struct sy_joining *j = b->joining;
        int64_t mine = j->first[j->rank + 1] - j->first[j->rank], goes = 0,
                comes = stride_of(r, b, j->rank) * j->first[j->size];
        for (int to = 0; to < j->size; to++)
            goes += to == j->rank ? 0 : mine * stride_of(r, b, to);
        send = goes > send ? goes : send;
        recv = comes > recv ? comes : recv;
    }
    r->gradient = sy_take_f32(a, "gradients of owned parts", r->n_own);
    sy_tied_carve(&r->tied, a);
    for (int i = 0; i < FLIGHTS; i++) {
        r->flight[i].send = sy_take_f32(a, "gradients on the way", send);
        r->flight[i].recv = sy_take_f32(a, "gradients on the way", recv);
    }
}

sy_status sy_reduce_measure(const struct sy_reduce_options *o, struct sy_arena *arena) {
    struct sy_reduce *r;
    SY_TRY(shell(o, &r));
    carve(r, arena);
    sy_reduce_destroy(r);
    return SY_OK;
}

sy_status sy_reduce_create(const struct sy_reduce_options *o, struct sy_reduce **out) {
    struct sy_reduce *r;
    SY_TRY(shell(o, &r));
    sy_status status = r->n_buckets == 0 && r->tied.n_stages < 2
                           ? SY_OK
                           : sy_arena_build(o->exec->device, "gradients over ranks", carve, r, &r->arena);
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
    sy_joining_fini(&r->dense);
    sy_joining_fini(&r->experts);
    sy_tied_fini(&r->tied);
    free(r->tensor);
    free(r->own);
    free(r->bucket);
    free(r->add);
    for (int i = 0; i < 2 * FLIGHTS; i++)
        free(r->flight[i / 2].at[i % 2]);
    free(r);
}

/* --- a bucket ------------------------------------------------------------------------------------------- */

/* One owner's part of all this rank's nodes: node by node, tensor by tensor. */
static void pack(const struct sy_reduce *r, const struct bucket *b, int owner, float *to) {
    const struct sy_joining *j = b->joining;
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
static int place_of(const struct sy_joining *j, int node) {
    int lo = j->first[j->rank], hi = j->first[j->rank + 1];
    return node < lo ? node : node >= hi ? node - (hi - lo) : j->first[j->size] - (hi - lo) + (node - lo);
}

static void set_out(struct sy_reduce *r, const struct bucket *b, const struct flight *f) {
    const struct sy_joining *j = b->joining;
    int64_t stride = stride_of(r, b, j->rank), mine = sy_joining_own(j), sent = 0;
    for (int to = 0; to < j->size; to++) {
        f->at[0][to] = sent * 4;
        f->at[1][to] = (j->first[to] - (to > j->rank ? mine : 0)) * stride * 4;
        if (to == j->rank) {
            pack(r, b, to, f->recv + place_of(j, j->first[to]) * stride);
        } else {
            pack(r, b, to, f->send + sent);
            sent += mine * stride_of(r, b, to);
        }
    }
    f->at[0][j->size] = sent * 4;
    f->at[1][j->size] = (j->first[j->size] - mine) * stride * 4;
    r->sent += sent * 4;
}

static void join(struct sy_reduce *r, const struct bucket *b, const struct flight *f) {
    const struct sy_joining *j = b->joining;
    const struct sy_exec *x = r->o.exec;
    int64_t stride = stride_of(r, b, j->rank);
    if (stride == 0)
        return;
    for (int i = 0; i < j->n_joins; i++)
        r->add[i] = (struct sy_add_item){stride, f->recv + place_of(j, j->from[i]) * stride,
                                         f->recv + place_of(j, j->to[i]) * stride};
    if (j->n_joins > 0)
        x->ops->add_f32(x, &(struct sy_add_f32){r->add, j->n_joins});
    x->ops->copy(x, &(struct sy_copy){.rows = 1,
                                      .bytes = stride * 4,
                                      .from = f->recv + place_of(j, j->root) * stride,
                                      .to = r->gradient + b->own});
}

static const struct sy_comm *comm_of(const struct sy_reduce *r, const struct bucket *b) {
    return b->experts ? &r->o.groups->edp : &r->o.groups->dp;
}

/* --- a step --------------------------------------------------------------------------------------------- */

static void note(struct sy_reduce *r, sy_status status) { sy_first_failure_note(&r->first, status); }

/* Of the bucket's first tensor. */
static int layer_of(const struct sy_reduce *r, const struct bucket *b) {
    return param_of(r, b->tensor[0])->layer;
}

/* The next bucket goes out. A rank that has failed comes with its status. */
static void begin(struct sy_reduce *r, sy_status mine) {
    const struct bucket *b = &r->bucket[r->begun];
    struct flight *f = &r->flight[r->begun++ % FLIGHTS];
    const struct sy_comm *c = comm_of(r, b);
    const struct sy_device *d = r->o.exec->device;
    if (mine == SY_OK) {
        set_out(r, b, f);
        mine = sy_exec_wait(r->o.exec);
    }
    note(r, sy_at_layer(c->ops->all_to_all_begin(c, mine, d->alias(d, f->send), f->at[0],
                                                 d->alias(d, f->recv), f->at[1], &f->request),
                        "gradients", layer_of(r, b)));
}

/* The first that is on its way is waited for and joined. */
static void finish(struct sy_reduce *r) {
    const struct bucket *b = &r->bucket[r->done];
    struct flight *f = &r->flight[r->done++ % FLIGHTS];
    const struct sy_comm *c = comm_of(r, b);
    sy_status status = sy_at_layer(c->ops->wait(c, &f->request), "gradients", layer_of(r, b));
    if (status == SY_OK)
        join(r, b, f);
    note(r, status);
}

void sy_reduce_begin(struct sy_reduce *r) {
    r->begun = r->done = 0;
    r->first = (struct sy_first_failure){0};
}

/* All of this rank's nodes of all of the bucket's tensors. */
static int is_ready(const struct sy_reduce *r, const struct bucket *b) {
    const struct sy_joining *j = b->joining;
    for (int i = 0; i < b->n_tensors; i++)
        for (int node = j->first[j->rank]; node < j->first[j->rank + 1]; node++)
            if (!sy_gradients_has(r->o.gradients, tensor_of(r, b->tensor[i])->param, j->node[node]))
                return 0;
    return 1;
}

void sy_reduce_progress(struct sy_reduce *r, int may_wait) {
    while (r->begun < r->n_buckets && r->first.status == SY_OK && is_ready(r, &r->bucket[r->begun])) {
        if (r->begun - r->done == FLIGHTS && !may_wait)
            return;
        if (r->begun - r->done == FLIGHTS)
            finish(r);
        begin(r, sy_first_failure_said(&r->first));
    }
}

/* This rank's part of a tensor's sum, or of a site's. */
static float *sum_of(const struct sy_reduce *r, int tensor) {
    const struct sy_tensor *t = tensor_of(r, tensor);
    if (sy_owner_range(&r->owner, r->o.params, tensor).n == 0)
        return NULL;
    if (is_alone(r, tensor))
        return sy_gradients_root(r->o.gradients, t->param) + t->first_row * param_of(r, tensor)->cols;
    return r->gradient + r->own[tensor];
}

static sy_status run(struct sy_reduce *r, sy_status mine) {
    note(r, mine);
    while (r->done < r->n_buckets)
        if (r->begun < r->n_buckets && r->begun - r->done < FLIGHTS)
            begin(r, sy_first_failure_said(&r->first));
        else
            finish(r);
    sy_status said = sy_first_failure_said(&r->first);
    if (r->n_buckets == 0 || said == SY_ERR_PEER) /* without the others nothing is agreed on */
        return said;
    return r->o.groups->dp.ops->agree(&r->o.groups->dp, said);
}

sy_status sy_reduce_run(struct sy_reduce *r, sy_status mine) {
    int embedding = r->tied.tensor, head = r->o.params->n_tensors;
    sy_status status = run(r, mine);
    if (embedding < 0 || status == SY_ERR_PEER)
        return status;
    int has = status == SY_OK;
    return sy_tied_add(&r->tied, status, has ? sum_of(r, embedding) : NULL, has ? sum_of(r, head) : NULL);
}

int64_t sy_reduce_sent(const struct sy_reduce *r) { return r->sent + r->tied.bytes_sent; }

float *sy_reduce_own(const struct sy_reduce *r, int tensor) {
    return tensor == r->tied.tensor ? r->tied.sum : sum_of(r, tensor);
}
