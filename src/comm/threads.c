/* N ranks as threads of one process. See comm.h.
 *
 * Each rank posts where its data lie, all meet at a barrier, each copies what is meant for it out of the others' memory, and
 * all meet again before anyone's buffer may change:   post | barrier | copy | barrier.   All-to-alls need no meeting:
 * flights.h.
 */
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "comm/flights.h"

enum { MAX_RANKS = 1024, MESSAGE_BYTES = 2048 };

struct post { /* what a rank shows the others */
    const void *data;
    sy_status status;
    char message[MESSAGE_BYTES];
};

struct team {
    int size, waiting;
    unsigned generation;
    pthread_mutex_t mutex;
    pthread_cond_t all_here;
    struct post *post; /* [size] */
    struct sy_flights *flights;
};

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
        strncpy(mine->message, sy_error_message(), MESSAGE_BYTES - 1);
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

struct member {
    struct sy_comm comm;
    sy_status (*fn)(const struct sy_comm *, void *);
    void *arg;
    sy_status status;
    char message[MESSAGE_BYTES];
};

static void *run_member(void *arg) {
    struct member *m = arg;
    m->status = m->fn(&m->comm, m->arg);
    assert(sy_flights_open(((struct team *)m->comm.state)->flights, m->comm.rank) == 0); /* a wait is missing */
    if (m->status != SY_OK)
        strncpy(m->message, sy_error_message(), MESSAGE_BYTES - 1);
    return NULL;
}

/* Threads are all started before any is let go, so that a failed start leaves nobody waiting at a barrier. */
struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    int open; /* 1 go, -1 give up */
};

struct start {
    struct member *member;
    struct gate *gate;
};

static void *wait_and_run(void *arg) {
    struct start *s = arg;
    pthread_mutex_lock(&s->gate->mutex);
    while (s->gate->open == 0)
        pthread_cond_wait(&s->gate->cond, &s->gate->mutex);
    int go = s->gate->open > 0;
    pthread_mutex_unlock(&s->gate->mutex);
    return go ? run_member(s->member) : NULL;
}

static void open_gate(struct gate *g, int how) {
    pthread_mutex_lock(&g->mutex);
    g->open = how;
    pthread_cond_broadcast(&g->cond);
    pthread_mutex_unlock(&g->mutex);
}

static sy_status run_team(struct team *t, struct member *members, struct start *starts, pthread_t *threads) {
    struct gate gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    int started = 1;
    for (; started < t->size; started++) {
        starts[started] = (struct start){&members[started], &gate};
        if (pthread_create(&threads[started], NULL, wait_and_run, &starts[started]) != 0)
            break;
    }
    int all = started == t->size;
    open_gate(&gate, all ? 1 : -1);
    if (all)
        run_member(&members[0]);
    for (int r = 1; r < started; r++)
        pthread_join(threads[r], NULL);
    pthread_cond_destroy(&gate.cond);
    pthread_mutex_destroy(&gate.mutex);
    if (!all)
        SY_FAIL(SY_ERR_RUNTIME, "the thread of rank %d of %d could not be started", started, t->size);
    for (int r = 0; r < t->size; r++)
        if (members[r].status != SY_OK)
            return sy_fail(members[r].status, "%s", members[r].message);
    return SY_OK;
}

sy_status sy_comm_threads_run(int ranks, sy_status (*fn)(const struct sy_comm *, void *), void *arg) {
    if (ranks < 1 || ranks > MAX_RANKS)
        SY_FAIL(SY_ERR_USAGE, "run.ranks = %d: must be in 1..%d", ranks, MAX_RANKS);
    struct team t = {.size = ranks};
    struct member *members = calloc((size_t)ranks, sizeof *members);
    struct start *starts = calloc((size_t)ranks, sizeof *starts);
    pthread_t *threads = calloc((size_t)ranks, sizeof *threads);
    t.post = calloc((size_t)ranks, sizeof *t.post);
    t.flights = sy_flights_create(ranks);
    sy_status status = SY_OK;
    if (!members || !starts || !threads || !t.post || !t.flights)
        status = sy_fail(SY_ERR_MEMORY, "no memory for %d ranks", ranks);
    if (status == SY_OK) {
        pthread_mutex_init(&t.mutex, NULL);
        pthread_cond_init(&t.all_here, NULL);
        for (int r = 0; r < ranks; r++)
            members[r] = (struct member){.comm = {&ops, &t, r, ranks}, .fn = fn, .arg = arg};
        status = run_team(&t, members, starts, threads);
        pthread_mutex_destroy(&t.mutex);
        pthread_cond_destroy(&t.all_here);
    }
    free(members);
    free(starts);
    free(threads);
    free(t.post);
    sy_flights_destroy(t.flights);
    return status;
}
