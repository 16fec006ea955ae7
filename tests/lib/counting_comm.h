/* A communicator that counts what a rank sends to others, by the group that it is sent in: those that are
 * split from it are numbered in the order of their making, itself the first. All-to-alls and messages
 * count apart. */
#ifndef SY_TESTS_LIB_COUNTING_COMM_H
#define SY_TESTS_LIB_COUNTING_COMM_H

#include <stdlib.h>

#include "comm/comm.h"

enum { COUNTED_GROUPS = 16 };

struct sent_bytes { /* of one rank */
    int n_groups;
    int64_t all_to_all[COUNTED_GROUPS], messages[COUNTED_GROUPS];
    /* before this rank begins an all-to-all or a message of a group; NULL: nothing */
    void (*before)(void *arg, int group);
    void *arg;
};

struct counted { /* state of a communicator that counts */
    struct sy_comm inner;
    struct sent_bytes *sent;
    int group;
};

static inline const struct counted *counted_of(const struct sy_comm *c) { return c->state; }

static inline sy_status counted_agree(const struct sy_comm *c, sy_status mine) {
    const struct sy_comm *i = &counted_of(c)->inner;
    return i->ops->agree(i, mine);
}
static inline sy_status counted_all_gather(const struct sy_comm *c, sy_status mine, const void *send,
                                           size_t bytes, void *recv) {
    const struct sy_comm *i = &counted_of(c)->inner;
    return i->ops->all_gather(i, mine, send, bytes, recv);
}
static inline sy_status counted_all_to_all_begin(const struct sy_comm *c, sy_status mine, const void *send,
                                                 const int64_t *send_at, void *recv, const int64_t *recv_at,
                                                 struct sy_comm_request *request) {
    const struct counted *q = counted_of(c);
    if (q->sent->before)
        q->sent->before(q->sent->arg, q->group);
    for (int r = 0; mine == SY_OK && r < c->size; r++)
        q->sent->all_to_all[q->group] += r == c->rank ? 0 : send_at[r + 1] - send_at[r];
    return q->inner.ops->all_to_all_begin(&q->inner, mine, send, send_at, recv, recv_at, request);
}
static inline sy_status counted_broadcast(const struct sy_comm *c, sy_status mine, int root, void *data,
                                          size_t bytes) {
    const struct sy_comm *i = &counted_of(c)->inner;
    return i->ops->broadcast(i, mine, root, data, bytes);
}
static inline sy_status counted_sum(const struct sy_comm *c, sy_status mine, int64_t *v, int64_t n) {
    const struct sy_comm *i = &counted_of(c)->inner;
    return i->ops->sum_i64(i, mine, v, n);
}
static inline sy_status counted_send(const struct sy_comm *c, int to, int tag, const void *data, size_t bytes,
                                     struct sy_comm_request *request) {
    const struct counted *q = counted_of(c);
    if (q->sent->before)
        q->sent->before(q->sent->arg, q->group);
    q->sent->messages[q->group] += to == c->rank ? 0 : (int64_t)bytes;
    return q->inner.ops->send_begin(&q->inner, to, tag, data, bytes, request);
}
static inline sy_status counted_recv(const struct sy_comm *c, int from, int tag, void *data, size_t bytes,
                                     struct sy_comm_request *request) {
    const struct sy_comm *i = &counted_of(c)->inner;
    return i->ops->recv_begin(i, from, tag, data, bytes, request);
}
static inline sy_status counted_wait(const struct sy_comm *c, struct sy_comm_request *request) {
    const struct sy_comm *i = &counted_of(c)->inner;
    return i->ops->wait(i, request);
}
static inline sy_status counted_split(const struct sy_comm *c, sy_status mine, int color, int key,
                                      struct sy_comm *out);
static inline void counted_destroy(struct sy_comm *c) {
    struct counted *q = c->state;
    sy_comm_destroy(&q->inner);
    free(q);
}

static const struct sy_comm_ops counted_ops = {.name = "counting",
                                               .agree = counted_agree,
                                               .all_gather = counted_all_gather,
                                               .all_to_all = sy_comm_all_to_all,
                                               .all_to_all_begin = counted_all_to_all_begin,
                                               .broadcast = counted_broadcast,
                                               .sum_i64 = counted_sum,
                                               .send_begin = counted_send,
                                               .recv_begin = counted_recv,
                                               .wait = counted_wait,
                                               .split = counted_split,
                                               .destroy = counted_destroy};

/* Of `inner`, whose owner stays who it was: destroy nothing but what is split from it. The state is the
 * caller's. */
static inline struct sy_comm counting(const struct sy_comm *inner, struct sent_bytes *sent,
                                      struct counted *state) {
    *state = (struct counted){*inner, sent, sent->n_groups++};
    return (struct sy_comm){&counted_ops, state, inner->rank, inner->size, inner->limit};
}

static inline sy_status counted_split(const struct sy_comm *c, sy_status mine, int color, int key,
                                      struct sy_comm *out) {
    const struct counted *q = counted_of(c);
    struct counted *state = calloc(1, sizeof *state);
    struct sy_comm inner;
    sy_status status = q->inner.ops->split(&q->inner, mine, color, key, &inner);
    *out = (struct sy_comm){0};
    if (status != SY_OK || !state || !inner.ops || q->sent->n_groups == COUNTED_GROUPS) {
        free(state);
        return status;
    }
    *out = counting(&inner, q->sent, state);
    return SY_OK;
}

#endif
