/* N ranks as threads of one process. See comm.h.
 *
 * Each rank posts where its data lie, all meet at a barrier, each copies what is meant for it out of the others' memory, and
 * all meet again before anyone's buffer may change:   post | barrier | copy | barrier.   All-to-alls need no meeting:
 * flights.h.
 */
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm/flights.h"

enum { MAX_RANKS = 1024, MESSAGE_BYTES = 2048 }; /* all that base/status.c keeps */

struct post { /* what a rank shows the others from one barrier to the next */
    const void *data;
    sy_status status; /* of agree, with its message if not OK */
    char message[MESSAGE_BYTES];
};

struct team {
    pthread_mutex_t mutex; /* of the three below */
    pthread_cond_t all_here;
    int waiting;         /* ranks at the barrier */
    unsigned generation; /* barriers passed: a rank sleeps until it changes, whatever woke it */
    int size;
    struct post *post; /* [size] */
    struct sy_flights *flights;
};

/* This thread's error message, for other threads to read. */
static void keep_message(char to[MESSAGE_BYTES]) { snprintf(to, MESSAGE_BYTES, "%s", sy_error_message()); }

static void barrier(const struct sy_comm *c) {
    struct team *t = c->state;
    pthread_mutex_lock(&t->mutex);
    unsigned generation = t->generation;
    if (++t->waiting == t->size) {
        t->waiting = 0;
        t->generation++;
        pthread_cond_broadcast(&t->all_here);
    } else {
        while (generation == t->generation)
            pthread_cond_wait(&t->all_here, &t->mutex);
    }
    pthread_mutex_unlock(&t->mutex);
}

static void show(const struct sy_comm *c, const void *data) {
    struct team *t = c->state;
    t->post[c->rank].data = data;
    barrier(c);
}

static void all_gather(const struct sy_comm *c, const void *send, size_t bytes, void *recv) {
    struct team *t = c->state;
    show(c, send);
    for (int r = 0; bytes && r < c->size; r++)
        memcpy((char *)recv + (size_t)r * bytes, t->post[r].data, bytes);
    barrier(c);
}

static void all_to_all_begin(const struct sy_comm *c, const void *send, const int64_t *send_at, void *recv,
                             const int64_t *recv_at, struct sy_comm_request *request) {
    struct team *t = c->state;
    sy_flights_begin(t->flights, c->rank, send, send_at, recv, recv_at, request);
}

static void wait_for(const struct sy_comm *c, struct sy_comm_request *request) {
    struct team *t = c->state;
    sy_flights_wait(t->flights, c->rank, request);
}

static void sum_i64(const struct sy_comm *c, int64_t *v, int64_t n) {
    enum { PIECE = 256 };
    struct team *t = c->state;
    for (int64_t first = 0; first < n; first += PIECE) {
        int64_t count = n - first < PIECE ? n - first : PIECE;
        uint64_t sum[PIECE] = {0};
        show(c, v + first);
        for (int r = 0; r < c->size; r++)
            for (int64_t i = 0; i < count; i++)
                sum[i] += (uint64_t)((const int64_t *)t->post[r].data)[i];
        barrier(c); /* all have read */
        for (int64_t i = 0; i < count; i++)
            v[first + i] = (int64_t)sum[i];
    }
}

static sy_status agree(const struct sy_comm *c, sy_status status) {
    struct team *t = c->state;
    struct post *mine = &t->post[c->rank];
    mine->status = status;
    if (status != SY_OK)
        keep_message(mine->message);
    barrier(c);
    sy_status agreed = SY_OK;
    for (int r = 0; r < c->size && agreed == SY_OK; r++)
        if (t->post[r].status != SY_OK)
            agreed = r == c->rank ? status : sy_fail(t->post[r].status, "rank %d: %s", r, t->post[r].message);
    barrier(c);
    return agreed;
}

static const struct sy_comm_ops ops = {"threads",        barrier,  all_gather, sy_comm_all_to_all,
                                       all_to_all_begin, wait_for, sum_i64,    agree};

/* --- starting and ending -------------------------------------------------------------------------------------- */

/* Closed until all threads are started, so that a failed start leaves nobody waiting at a barrier. */
struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t moved;
    enum { CLOSED, OPEN, GIVEN_UP } is;
};

struct member { /* a rank and its thread */
    struct sy_comm comm;
    sy_status (*fn)(const struct sy_comm *, void *);
    void *arg;
    struct gate *gate;
    pthread_t thread; /* not of rank 0 */
    sy_status status;
    char message[MESSAGE_BYTES];
};

static void run_member(struct member *m) {
    assert(m->fn);
    m->status = m->fn(&m->comm, m->arg);
    if (m->status != SY_OK)
        keep_message(m->message);
    assert(sy_flights_open(((struct team *)m->comm.state)->flights, m->comm.rank) == 0); /* fn lacks a wait */
}

static void *thread_main(void *arg) {
    struct member *m = arg;
    pthread_mutex_lock(&m->gate->mutex);
    while (m->gate->is == CLOSED)
        pthread_cond_wait(&m->gate->moved, &m->gate->mutex);
    int go = m->gate->is == OPEN;
    pthread_mutex_unlock(&m->gate->mutex);
    if (go)
        run_member(m);
    return NULL;
}

static void move_gate(struct gate *g, int to) {
    pthread_mutex_lock(&g->mutex);
    g->is = to;
    pthread_cond_broadcast(&g->moved);
    pthread_mutex_unlock(&g->mutex);
}

/* Starts ranks 1.., runs rank 0 here, joins. A thread that does not start: nobody runs. */
static sy_status run_members(struct member *members, int ranks, struct gate *gate) {
    int started = 1, why = 0;
    while (started < ranks && why == 0) {
        why = pthread_create(&members[started].thread, NULL, thread_main, &members[started]);
        started += why == 0;
    }
    move_gate(gate, why == 0 ? OPEN : GIVEN_UP);
    if (why == 0)
        run_member(&members[0]);
    for (int r = 1; r < started; r++)
        pthread_join(members[r].thread, NULL);
    if (why != 0)
        SY_FAIL(SY_ERR_RUNTIME,
                "the thread of rank %d of %d could not be started (%s): fewer ranks, or raise ulimit -u or -v", started,
                ranks, strerror(why));
    for (int r = 0; r < ranks; r++)
        if (members[r].status != SY_OK)
            return sy_fail(members[r].status, "%s", members[r].message);
    return SY_OK;
}

static sy_status run_team(struct team *t, struct member *members, sy_status (*fn)(const struct sy_comm *, void *),
                          void *arg) {
    struct gate gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, CLOSED};
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->all_here, NULL);
    for (int r = 0; r < t->size; r++)
        members[r] = (struct member){.comm = {&ops, t, r, t->size}, .fn = fn, .arg = arg, .gate = &gate};
    sy_status status = run_members(members, t->size, &gate);
    pthread_cond_destroy(&t->all_here);
    pthread_mutex_destroy(&t->mutex);
    pthread_cond_destroy(&gate.moved);
    pthread_mutex_destroy(&gate.mutex);
    return status;
}

sy_status sy_comm_threads_run(int ranks, sy_status (*fn)(const struct sy_comm *, void *), void *arg) {
    if (ranks < 1 || ranks > MAX_RANKS)
        SY_FAIL(SY_ERR_USAGE, "ranks = %d: must be in 1..%d", ranks, MAX_RANKS);
    struct team t = {.size = ranks};
    struct member *members = calloc((size_t)ranks, sizeof *members);
    t.post = calloc((size_t)ranks, sizeof *t.post);
    t.flights = sy_flights_create(ranks);
    sy_status status = members && t.post && t.flights ? run_team(&t, members, fn, arg)
                                                      : sy_fail(SY_ERR_MEMORY, "no memory for %d ranks", ranks);
    free(members);
    free(t.post);
    sy_flights_destroy(t.flights);
    return status;
}
