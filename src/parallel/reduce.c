/* Gradients over ranks: see reduce.h. */
#include "parallel/reduce.h"

#include <stdlib.h>

#include "parallel/buckets.h"
#include "parallel/place.h"
#include "parallel/tied.h"

enum { FLIGHTS = 2 };

struct flight { /* of a bucket */
    struct sy_comm_request request;
    int64_t *at[2]; /* [ranks + 1] bytes of what goes, of what comes */
    float *send, *recv;
};

struct sy_reduce {
    struct sy_reduce_options o;
    struct sy_buckets buckets;
    struct sy_add_item *add;
    struct sy_tied tied;
    int64_t sent;
    struct sy_arena arena;
    float *gradient;               /* [buckets.n_own] */
    struct flight flight[FLIGHTS]; /* bucket i: i mod FLIGHTS */
    int begun, done;               /* buckets of this step */
    struct sy_first_failure first; /* of those that are done */
};

/* --- creation ------------------------------------------------------------------------------------------- */

static sy_status make_lists(struct sy_reduce *r) {
    const struct sy_mesh *m = r->o.mesh;
    int failed = 0;
    SY_TRY(sy_buckets_init(r->o.params, m, r->o.in_turn, &r->buckets));
    SY_TRY(sy_tied_init(&(struct sy_tied_options){r->o.params, r->o.exec, m, r->o.groups}, &r->tied));
    r->add = calloc((size_t)r->buckets.dense.first[m->dp] + (size_t)r->buckets.experts.first[m->edp],
                    sizeof *r->add);
    for (int i = 0; i < 2 * FLIGHTS; i++)
        failed += !(r->flight[i / 2].at[i % 2] = calloc((size_t)m->dp + 1, sizeof(int64_t)));
    if (failed || !r->add)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a list of %d gradients", r->o.params->n_tensors);
    return SY_OK;
}

static sy_status shell(const struct sy_reduce_options *o, struct sy_reduce **out) {
    struct sy_reduce *r = calloc(1, sizeof *r);
    if (!r)
        SY_FAIL(SY_ERR_MEMORY, "no memory for the gradients over ranks");
    r->o = *o;
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
    for (int i = 0; i < r->buckets.n; i++) {
        const struct sy_gradient_bucket *b = &r->buckets.bucket[i];
        const struct sy_joining *j = b->joining;
        int64_t mine = j->first[j->rank + 1] - j->first[j->rank], goes = 0,
                comes = sy_bucket_stride(&r->buckets, b, j->rank) * j->first[j->size];
        for (int to = 0; to < j->size; to++)
            goes += to == j->rank ? 0 : mine * sy_bucket_stride(&r->buckets, b, to);
        send = goes > send ? goes : send;
        recv = comes > recv ? comes : recv;
    }
    r->gradient = sy_take_f32(a, "gradients of owned parts", r->buckets.n_own);
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
    sy_status status = r->buckets.n == 0 && r->tied.n_stages < 2
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
    sy_buckets_fini(&r->buckets);
    sy_tied_fini(&r->tied);
    free(r->add);
    for (int i = 0; i < 2 * FLIGHTS; i++)
        free(r->flight[i / 2].at[i % 2]);
    free(r);
}

/* --- a bucket ------------------------------------------------------------------------------------------- */

/* One owner's part of all this rank's nodes: node by node, tensor by tensor. */
static void pack(const struct sy_reduce *r, const struct sy_gradient_bucket *b, int owner, float *to) {
    const struct sy_joining *j = b->joining;
    for (int node = j->first[j->rank]; node < j->first[j->rank + 1]; node++)
        for (int i = 0; i < b->n_tensors; i++) {
            const struct sy_tensor *t = sy_buckets_tensor(&r->buckets, b->tensor[i]);
            struct sy_range_of part = sy_bucket_part(&r->buckets, b, b->tensor[i], owner);
            const float *from = sy_gradients_sum(r->o.gradients, t->param, j->node[node]) +
                                t->first_row * sy_buckets_param(&r->buckets, b->tensor[i])->cols + part.first;
            if (part.n > 0)
                r->o.exec->ops->copy(
                    r->o.exec, &(struct sy_copy){.rows = 1, .bytes = part.n * 4, .from = from, .to = to});
            to += sy_bucket_room(part.n);
        }
}

/* Where a node's part stands among what comes, in nodes: this rank's own ones behind the others'. */
static int place_of(const struct sy_joining *j, int node) {
    int lo = j->first[j->rank], hi = j->first[j->rank + 1];
    return node < lo ? node : node >= hi ? node - (hi - lo) : j->first[j->size] - (hi - lo) + (node - lo);
}

static void set_out(struct sy_reduce *r, const struct sy_gradient_bucket *b, const struct flight *f) {
    const struct sy_joining *j = b->joining;
    int64_t stride = sy_bucket_stride(&r->buckets, b, j->rank), mine = sy_joining_own(j), sent = 0;
    for (int to = 0; to < j->size; to++) {
        f->at[0][to] = sent * 4;
        f->at[1][to] = (j->first[to] - (to > j->rank ? mine : 0)) * stride * 4;
        if (to == j->rank) {
            pack(r, b, to, f->recv + place_of(j, j->first[to]) * stride);
        } else {
            pack(r, b, to, f->send + sent);
            sent += mine * sy_bucket_stride(&r->buckets, b, to);
        }
    }
    f->at[0][j->size] = sent * 4;
    f->at[1][j->size] = (j->first[j->size] - mine) * stride * 4;
    r->sent += sent * 4;
}

static void join(struct sy_reduce *r, const struct sy_gradient_bucket *b, const struct flight *f) {
    const struct sy_joining *j = b->joining;
    const struct sy_exec *x = r->o.exec;
    int64_t stride = sy_bucket_stride(&r->buckets, b, j->rank);
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

static const struct sy_comm *comm_of(const struct sy_reduce *r, const struct sy_gradient_bucket *b) {
    return b->experts ? &r->o.groups->edp : &r->o.groups->dp;
}

/* --- a step --------------------------------------------------------------------------------------------- */

static void note(struct sy_reduce *r, sy_status status) { sy_first_failure_note(&r->first, status); }

/* Of the bucket's first tensor. */
static int layer_of(const struct sy_reduce *r, const struct sy_gradient_bucket *b) {
    return sy_buckets_param(&r->buckets, b->tensor[0])->layer;
}

/* The next bucket goes out. A rank that has failed comes with its status. */
static void begin(struct sy_reduce *r, sy_status mine) {
    const struct sy_gradient_bucket *b = &r->buckets.bucket[r->begun];
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
    const struct sy_gradient_bucket *b = &r->buckets.bucket[r->done];
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
static int is_ready(const struct sy_reduce *r, const struct sy_gradient_bucket *b) {
    const struct sy_joining *j = b->joining;
    for (int i = 0; i < b->n_tensors; i++)
        for (int node = j->first[j->rank]; node < j->first[j->rank + 1]; node++)
            if (!sy_gradients_has(r->o.gradients, sy_buckets_tensor(&r->buckets, b->tensor[i])->param,
                                  j->node[node]))
                return 0;
    return 1;
}

void sy_reduce_progress(struct sy_reduce *r, int may_wait) {
    while (r->begun < r->buckets.n && r->first.status == SY_OK && is_ready(r, &r->buckets.bucket[r->begun])) {
        if (r->begun - r->done == FLIGHTS && !may_wait)
            return;
        if (r->begun - r->done == FLIGHTS)
            finish(r);
        begin(r, sy_first_failure_said(&r->first));
    }
}

/* This rank's part of a tensor's sum, or of a site's. */
static float *sum_of(const struct sy_reduce *r, int tensor) {
    const struct sy_tensor *t = sy_buckets_tensor(&r->buckets, tensor);
    if (sy_owner_range(&r->buckets.owner, r->o.params, tensor).n == 0)
        return NULL;
    if (sy_buckets_alone(&r->buckets, tensor))
        return sy_gradients_root(r->o.gradients, t->param) +
               t->first_row * sy_buckets_param(&r->buckets, tensor)->cols;
    return r->gradient + r->buckets.own[tensor];
}

static sy_status run(struct sy_reduce *r, sy_status mine) {
    note(r, mine);
    while (r->done < r->buckets.n)
        if (r->begun < r->buckets.n && r->begun - r->done < FLIGHTS)
            begin(r, sy_first_failure_said(&r->first));
        else
            finish(r);
    sy_status said = sy_first_failure_said(&r->first);
    if (r->buckets.n == 0 || said == SY_ERR_PEER) /* without the others nothing is agreed on */
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
