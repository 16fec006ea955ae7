/* Parts of tensors to all ranks of a group: see gather.h. */
#include "parallel/gather.h"

#include <assert.h>
#include <stdlib.h>

#include "parallel/place.h"

enum { SLOTS = SY_GATHER_SLOTS, ALIGN = 64 };

struct slot { /* of a set in flight */
    int set;  /* -1: free */
    char *send, *recv;
    struct sy_comm_request *request; /* [2 * ranks] to and from each other one */
};

struct sy_gather {
    const struct sy_exec *exec;
    const struct sy_gather_set *set;
    int n_sets;
    int64_t sent;
    struct slot slot[SLOTS];
};

struct sy_range_of sy_gather_part(const struct sy_gather_set *s, int item, int rank) {
    return sy_shard_range(&(struct sy_shard){s->first + rank, s->of}, s->item[item].n);
}

size_t sy_gather_bytes(const struct sy_gather_set *s, int item, int rank) {
    size_t bytes = (size_t)sy_gather_part(s, item, rank).n * s->item[item].element;
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

size_t sy_gather_message(const struct sy_gather_set *s, int rank) {
    size_t bytes = 0;
    for (int i = 0; i < s->n_items; i++)
        bytes += sy_gather_bytes(s, i, rank);
    return bytes;
}

static size_t received(const struct sy_gather_set *s) {
    size_t bytes = 0;
    for (int r = 0; r < s->comm.size; r++)
        bytes += r == s->comm.rank ? 0 : sy_gather_message(s, r);
    return bytes;
}

sy_status sy_gather_create(const struct sy_exec *exec, const struct sy_gather_set *set, int n_sets,
                           struct sy_gather **out) {
    struct sy_gather *g = calloc(1, sizeof *g);
    size_t ranks = 1;
    for (int i = 0; i < n_sets; i++)
        ranks = (size_t)set[i].comm.size > ranks ? (size_t)set[i].comm.size : ranks;
    int failed = !g;
    for (int i = 0; g && i < SLOTS; i++) {
        g->slot[i].set = -1;
        failed |= !(g->slot[i].request = calloc(2 * ranks, sizeof *g->slot[i].request));
    }
    if (failed) {
        sy_gather_destroy(g);
        SY_FAIL(SY_ERR_MEMORY, "no memory to gather weights over %zu ranks", ranks);
    }
    g->exec = exec;
    g->set = set;
    g->n_sets = n_sets;
    *out = g;
    return SY_OK;
}

void sy_gather_destroy(struct sy_gather *g) {
    for (int i = 0; g && i < SLOTS; i++)
        free(g->slot[i].request);
    free(g);
}

void sy_gather_carve(struct sy_gather *g, struct sy_arena *a) {
    size_t send = 0, recv = 0;
    for (int i = 0; i < g->n_sets; i++) {
        const struct sy_gather_set *q = &g->set[i];
        size_t s = q->message || q->comm.size == 1 ? 0 : sy_gather_message(q, q->comm.rank), r = received(q);
        send = s > send ? s : send;
        recv = r > recv ? r : recv;
    }
    for (int i = 0; i < SLOTS; i++) {
        g->slot[i].send = sy_arena_take(a, "gathering of weights", send, 1);
        g->slot[i].recv = sy_arena_take(a, "gathering of weights", recv, 1);
    }
}

static void copy(const struct sy_gather *g, const void *from, void *to, size_t bytes) {
    if (bytes > 0 && from != to)
        g->exec->ops->copy(g->exec,
                           &(struct sy_copy){.rows = 1, .bytes = (int64_t)bytes, .from = from, .to = to});
}

/* Where part `rank` of an item belongs. */
static void *place(const struct sy_gather_set *s, int item, int rank) {
    int64_t first = sy_gather_part(s, item, rank).first - sy_gather_part(s, item, 0).first;
    return (char *)s->item[item].all + (size_t)first * s->item[item].element;
}

static void pack(const struct sy_gather *g, const struct sy_gather_set *s, char *send) {
    for (int i = 0; i < s->n_items; i++) {
        size_t bytes = (size_t)sy_gather_part(s, i, s->comm.rank).n * s->item[i].element;
        copy(g, s->item[i].own, send, bytes);
        send += sy_gather_bytes(s, i, s->comm.rank);
    }
}

static void unpack(const struct sy_gather *g, const struct sy_gather_set *s, const char *recv) {
    for (int r = 0; r < s->comm.size; r++)
        for (int i = 0; i < s->n_items; i++) {
            size_t bytes = (size_t)sy_gather_part(s, i, r).n * s->item[i].element;
            copy(g, r == s->comm.rank ? s->item[i].own : recv, place(s, i, r), bytes);
            recv += r == s->comm.rank ? 0 : sy_gather_bytes(s, i, r);
        }
}

static struct slot *slot_of(struct sy_gather *g, int set) {
    int i = 0;
    while (i < SLOTS && g->slot[i].set != set)
        i++;
    assert(i < SLOTS);
    return &g->slot[i];
}

int sy_gather_is_begun(const struct sy_gather *g, int set) {
    for (int i = 0; i < SLOTS; i++)
        if (g->slot[i].set == set)
            return 1;
    return 0;
}

sy_status sy_gather_begin(struct sy_gather *g, int set) {
    const struct sy_gather_set *s = &g->set[set];
    const struct sy_comm *c = &s->comm;
    const struct sy_device *d = g->exec->device;
    struct slot *slot = slot_of(g, -1);
    const char *send = s->message ? s->message : slot->send;
    slot->set = set;
    if (c->size == 1)
        return SY_OK;
    if (!s->message)
        pack(g, s, slot->send);
    SY_TRY(sy_exec_wait(g->exec));
    size_t bytes = sy_gather_message(s, c->rank);
    char *recv = d->alias(d, slot->recv);
    send = d->alias(d, send);
    sy_status status = SY_OK;
    for (int r = 0; r < c->size && status == SY_OK; r++) {
        size_t theirs = r == c->rank ? 0 : sy_gather_message(s, r);
        if (theirs > 0)
            status = c->ops->recv_begin(c, r, set, recv, theirs, &slot->request[2 * r]);
        if (status == SY_OK && r != c->rank && bytes > 0) {
            status = c->ops->send_begin(c, r, set, send, bytes, &slot->request[2 * r + 1]);
            g->sent += (int64_t)bytes;
        }
        recv += theirs;
    }
    return sy_at_layer(status, "weights", s->layer);
}

sy_status sy_gather_wait(struct sy_gather *g, int set) {
    const struct sy_gather_set *s = &g->set[set];
    struct slot *slot = slot_of(g, set);
    sy_status status = SY_OK;
    for (int i = 0; i < 2 * s->comm.size && status == SY_OK; i++) /* after an error all are over */
        status = s->comm.ops->wait(&s->comm, &slot->request[i]);
    slot->set = -1;
    if (status == SY_OK)
        unpack(g, s, slot->recv);
    return sy_at_layer(status, "weights", s->layer);
}

int64_t sy_gather_sent(const struct sy_gather *g) { return g->sent; }

/* One set comes while the next is sent; after a failure nothing more is begun, and what was is waited for. */
sy_status sy_gather_all(struct sy_gather *g) {
    struct sy_first_failure first = {0};
    for (int i = 0; i <= g->n_sets; i++) {
        if (i < g->n_sets && first.status == SY_OK)
            sy_first_failure_note(&first, sy_gather_begin(g, i));
        if (i > 0 && sy_gather_is_begun(g, i - 1))
            sy_first_failure_note(&first, sy_gather_wait(g, i - 1));
    }
    return sy_first_failure_said(&first);
}
