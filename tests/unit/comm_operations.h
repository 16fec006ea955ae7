/* Each operation of a transport as a call of one form, for the tests of how calls end: it brings memory of
 * its own, frees it as soon as the call has returned, and says whether what came was right.
 */
#ifndef SY_TESTS_UNIT_COMM_OPERATIONS_H
#define SY_TESTS_UNIT_COMM_OPERATIONS_H

#include "comm_room.h"

#include <stdlib.h>

static inline void *bytes_of(size_t n, int value) {
    void *p = malloc(n);
    if (!p)
        abort();
    memset(p, value, n);
    return p;
}

/* A rank that comes with a failure brings no memory. All set *right if what came is right. */
static inline sy_status call_agree(const struct sy_comm *c, sy_status mine, int *right) {
    *right = 1;
    return c->ops->agree(c, mine);
}

enum { BLOCK = 5000 };

static inline sy_status call_all_gather(const struct sy_comm *c, sy_status mine, int *right) {
    char *send = mine ? NULL : bytes_of(BLOCK, 1 + c->rank), *recv = bytes_of((size_t)c->size * BLOCK, 0);
    sy_status status = c->ops->all_gather(c, mine, send, BLOCK, mine ? NULL : recv);
    *right = 1;
    for (int i = 0; i < c->size * BLOCK; i++)
        *right &= recv[i] == 1 + i / BLOCK;
    free(send);
    free(recv);
    return status;
}

static inline sy_status call_broadcast(const struct sy_comm *c, sy_status mine, int *right) {
    int root = c->size / 2;
    char *data = bytes_of(BLOCK, c->rank == root ? 7 : 0);
    sy_status status = c->ops->broadcast(c, mine, root, mine ? NULL : data, BLOCK);
    *right = data[0] == 7 && data[BLOCK - 1] == 7;
    free(data);
    return status;
}

static inline sy_status call_sum(const struct sy_comm *c, sy_status mine, int *right) {
    int64_t *v = bytes_of(BLOCK * sizeof *v, 0);
    for (int i = 0; i < BLOCK; i++)
        v[i] = i;
    sy_status status = c->ops->sum_i64(c, mine, mine ? NULL : v, BLOCK);
    *right = v[1] == c->size && v[BLOCK - 1] == (int64_t)c->size * (BLOCK - 1);
    free(v);
    return status;
}

struct flight {
    char *send, *recv;
    int64_t *at;
    struct sy_comm_request request;
};

static inline sy_status take_off(const struct sy_comm *c, sy_status mine, struct flight *f) {
    size_t bytes = (size_t)c->size * BLOCK;
    *f = (struct flight){bytes_of(bytes, 1 + c->rank),
                         bytes_of(bytes, 0),
                         bytes_of((size_t)(c->size + 1) * sizeof *f->at, 0),
                         {0}};
    for (int r = 0; r <= c->size; r++)
        f->at[r] = r * BLOCK;
    return mine ? c->ops->all_to_all_begin(c, mine, NULL, NULL, NULL, NULL, &f->request)
                : c->ops->all_to_all_begin(c, mine, f->send, f->at, f->recv, f->at, &f->request);
}

static inline sy_status touch_down(const struct sy_comm *c, struct flight *f, int *right) {
    sy_status status = c->ops->wait(c, &f->request);
    *right = 1;
    for (int i = 0; i < c->size * BLOCK; i++)
        *right &= f->recv[i] == 1 + i / BLOCK;
    free(f->send);
    free(f->recv);
    free(f->at);
    return status;
}

static inline sy_status call_all_to_all(const struct sy_comm *c, sy_status mine, int *right) {
    struct flight f;
    int ignored;
    sy_status status = take_off(c, mine, &f), waited = touch_down(c, &f, status == SY_OK ? right : &ignored);
    return status != SY_OK ? status : waited;
}

/* Three in flight, of which the second one fails; waited for from the last. */
static inline sy_status call_three_flights(const struct sy_comm *c, sy_status mine, int *right) {
    struct flight f[3];
    int others[2];
    sy_status status[3], begun = SY_OK;
    for (int i = 0; i < 3; i++) {
        sy_status s = take_off(c, i == 1 ? mine : SY_OK, &f[i]);
        begun = begun != SY_OK ? begun : s;
    }
    status[2] = touch_down(c, &f[2], &others[0]);
    status[0] = touch_down(c, &f[0], &others[1]);
    status[1] = touch_down(c, &f[1], right);
    if (begun == SY_OK && status[0] == SY_OK && status[2] == SY_OK)
        *right &= others[0] && others[1];
    return begun != SY_OK ? begun : status[0] == SY_ERR_PEER ? status[0] : status[1];
}

static inline sy_status call_split(const struct sy_comm *c, sy_status mine, int *right) {
    struct sy_comm group;
    sy_status status = c->ops->split(c, mine, c->rank % 2, 0, &group);
    *right = status == SY_OK ? group.size == (c->size + 1 - c->rank % 2) / 2 : group.ops == NULL;
    sy_comm_destroy(&group);
    return status;
}

struct operation {
    const char *name; /* in messages */
    sy_status (*call)(const struct sy_comm *c, sy_status mine, int *right);
};

static const struct operation operations[] = {
    {"agree", call_agree},     {"all_gather", call_all_gather}, {"broadcast", call_broadcast},
    {"sum_i64", call_sum},     {"all_to_all", call_all_to_all}, {"all_to_all", call_three_flights},
    {"all_gather", call_split}};
enum { OPERATIONS = sizeof operations / sizeof *operations };

static inline const char *transport(void) { return are_threads() ? "threads" : "mpi"; }

static inline int says(const char *text) { return strstr(sy_error_message(), text) != NULL; }

#endif
