/* Parts of tensors to all ranks of a group: see gather.h. */
#include "parallel/gather.h"

#include <assert.h>
#include <stdlib.h>

enum { SLOTS = 2, ALIGN = 64 };

struct slot { /* of a set in flight */
    int set;  /* -1: free */
    char *send, *recv;
    struct sy_comm_request *request; /* [2 * ranks] to and from each other one */
};

struct sy_gather {
    const struct sy_exec *exec;
    const struct sy_gather_set *set;
    int n_sets, next; /* the slot that is begun next */
    struct slot slot[SLOTS];
};

static size_t up(size_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

static struct sy_range_of part_of(const struct sy_gather_set *s, const struct sy_gather_item *q, int rank) {
    return sy_shard_range(&(struct sy_shard){rank, s->comm.size}, q->n);
}

/* Bytes of a rank's message. */
static size_t message(const struct sy_gather_set *s, int rank) {
    size_t bytes = 0;
    for (int i = 0; i < s->n_items; i++)
        bytes += up((size_t)part_of(s, &s->item[i], rank).n * s->item[i].element);
    return bytes;
}

static size_t received(const struct sy_gather_set *s) {
    size_t bytes = 0;
    for (int r = 0; r < s->comm.size; r++)
        bytes += r == s->comm.rank ? 0 : message(s, r);
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
        size_t s = message(&g->set[i], g->set[i].comm.rank), r = received(&g->set[i]);
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
static void *place(const struct sy_gather_item *q, struct sy_range_of part) {
    return (char *)q->all + (size_t)part.first * q->element;
}

static void pack(const struct sy_gather *g, const struct sy_gather_set *s, char *send) {
    for (int i = 0; i < s->n_items; i++) {
        const struct sy_gather_item *q = &s->item[i];
        size_t bytes = (size_t)part_of(s, q, s->comm.rank).n * q->element;
        copy(g, q->own, send, bytes);
        send += up(bytes);
    }
}

static void unpack(const struct sy_gather *g, const struct sy_gather_set *s, const char *recv) {
    for (int r = 0; r < s->comm.size; r++)
        for (int i = 0; i < s->n_items; i++) {
            const struct sy_gather_item *q = &s->item[i];
            struct sy_range_of part = part_of(s, q, r);
            size_t bytes = (size_t)part.n * q->element;
            copy(g, r == s->comm.rank ? q->own : recv, place(q, part), bytes);
            recv += r == s->comm.rank ? 0 : up(bytes);
        }
}

sy_status sy_gather_begin(struct sy_gather *g, int set) {
    const struct sy_gather_set *s = &g->set[set];
    const struct sy_comm *c = &s->comm;
    const struct sy_device *d = g->exec->device;
    struct slot *slot = &g->slot[g->next];
    assert(slot->set < 0);
    pack(g, s, slot->send);
    SY_TRY(sy_exec_wait(g->exec));
    slot->set = set;
    g->next = (g->next + 1) % SLOTS;
    size_t bytes = message(s, c->rank);
    char *recv = d->alias(d, slot->recv);
    const char *send = d->alias(d, slot->send);
    sy_status status = SY_OK;
    for (int r = 0; r < c->size && status == SY_OK; r++) {
        size_t theirs = r == c->rank ? 0 : message(s, r);
        if (theirs > 0)
            status = c->ops->recv_begin(c, r, set, recv, theirs, &slot->request[2 * r]);
        if (status == SY_OK && r != c->rank && bytes > 0)
            status = c->ops->send_begin(c, r, set, send, bytes, &slot->request[2 * r + 1]);
        recv += theirs;
    }
    return status;
}

sy_status sy_gather_wait(struct sy_gather *g, int set) {
    const struct sy_gather_set *s = &g->set[set];
    struct slot *slot = g->slot[g->next].set == set ? &g->slot[g->next] : &g->slot[(g->next + 1) % SLOTS];
    assert(slot->set == set);
    for (int i = 0; i < 2 * s->comm.size; i++)
        SY_TRY(s->comm.ops->wait(&s->comm, &slot->request[i]));
    slot->set = -1;
    unpack(g, s, slot->recv);
    return SY_OK;
}

sy_status sy_gather_all(struct sy_gather *g) {
    if (g->n_sets > 0)
        SY_TRY(sy_gather_begin(g, 0));
    for (int i = 0; i < g->n_sets; i++) {
        if (i + 1 < g->n_sets)
            SY_TRY(sy_gather_begin(g, i + 1));
        SY_TRY(sy_gather_wait(g, i));
    }
    return SY_OK;
}
