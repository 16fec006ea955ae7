/* N ranks as threads of one process: starting and ending them. See comm.h; team.h says where the rest is.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "comm/flights.h"
#include "comm/team.h"

enum { MAX_RANKS = 1024 };

static sy_status wait_for(const struct sy_comm *c, struct sy_comm_request *request) {
    if (request->kind == SY_COMM_NONE)
        return SY_OK;
    return request->kind == SY_COMM_EXCHANGE ? sy_flights_wait(c, request) : sy_messages_wait(c, request);
}

const struct sy_comm_ops sy_threads_ops = {.name = "threads",
                                           .windows = &sy_threads_windows,
                                           .agree = sy_threads_agree,
                                           .all_gather = sy_threads_all_gather,
                                           .all_to_all = sy_comm_all_to_all,
                                           .all_to_all_begin = sy_flights_begin,
                                           .broadcast = sy_threads_broadcast,
                                           .sum_i64 = sy_threads_sum_i64,
                                           .send_begin = sy_messages_send_begin,
                                           .recv_begin = sy_messages_recv_begin,
                                           .wait = wait_for,
                                           .split = sy_threads_split,
                                           .destroy = sy_threads_destroy};

/* --- seats ---------------------------------------------------------------------------------------- */

static sy_status open_seats(struct sy_seats *s, int ranks, sy_comm_mover *mover) {
    pthread_condattr_t monotonic;
    *s = (struct sy_seats){.size = ranks, .mover = mover, .seat = calloc((size_t)ranks, sizeof *s->seat)};
    if (!s->seat)
        SY_FAIL(SY_ERR_MEMORY, "no memory for %d ranks", ranks);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    for (int r = 0; r < ranks; r++)
        pthread_cond_init(&s->seat[r].wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return SY_OK;
}

/* With the teams that some rank has not destroyed. */
static void close_seats(struct sy_seats *s) {
    while (s->teams) {
        struct sy_team *next = s->teams->next;
        sy_team_free(s->teams);
        s->teams = next;
    }
    for (int r = 0; r < s->size; r++)
        pthread_cond_destroy(&s->seat[r].wake);
    pthread_mutex_destroy(&s->mutex);
    free(s->seat);
}

/* A rank's thread has returned: nobody waits for it from here on. What it had in flight is not its memory
 * any more. */
static void leave(struct sy_seats *s, int rank, sy_status status) {
    pthread_mutex_lock(&s->mutex);
    for (const struct sy_team *t = s->teams; t; t = t->next)
        for (int r = 0; r < t->size && t->dead.status == SY_OK; r++)
            assert(t->member[r].seat != rank || t->member[r].open == 0); /* fn lacks a wait */
    s->seat[rank].left = 1;
    sy_fault_add(&s->seat[rank].why, rank, status, sy_error_message());
    for (int r = 0; r < s->size; r++)
        pthread_cond_signal(&s->seat[r].wake);
    pthread_mutex_unlock(&s->mutex);
}

/* --- starting and ending -------------------------------------------------------------------------- */

/* Closed until all threads are started, so that a failed start leaves nobody waiting. */
struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t moved;
    enum { CLOSED, OPEN, GIVEN_UP } is;
};

struct rank { /* and its thread */
    struct sy_comm comm;
    struct sy_seats *seats;
    sy_status (*fn)(const struct sy_comm *, void *);
    void *arg;
    struct gate *gate;
    pthread_t thread; /* not of rank 0 */
};

static void run_rank(const struct rank *m) {
    assert(m->fn);
    leave(m->seats, m->comm.rank, m->fn(&m->comm, m->arg));
}

static void *thread_main(void *arg) {
    const struct rank *m = arg;
    pthread_mutex_lock(&m->gate->mutex);
    while (m->gate->is == CLOSED)
        pthread_cond_wait(&m->gate->moved, &m->gate->mutex);
    int go = m->gate->is == OPEN;
    pthread_mutex_unlock(&m->gate->mutex);
    if (go)
        run_rank(m);
    return NULL;
}

static void move_gate(struct gate *g, int to) {
    pthread_mutex_lock(&g->mutex);
    g->is = to;
    pthread_cond_broadcast(&g->moved);
    pthread_mutex_unlock(&g->mutex);
}

/* The lowest rank's failure; one that others' leaving made is taken only if there is no other. */
static sy_status outcome(const struct sy_seats *s) {
    const struct sy_fault *worst = NULL;
    for (int r = s->size - 1; r >= 0; r--) {
        const struct sy_fault *f = &s->seat[r].why;
        if (f->status != SY_OK && (!worst || f->status != SY_ERR_PEER || worst->status == SY_ERR_PEER))
            worst = f;
    }
    return worst ? sy_fail(worst->status, "%s", worst->message) : SY_OK;
}

/* Starts ranks 1.., runs rank 0 here, joins. A thread that does not start: nobody runs. */
static sy_status run_ranks(struct rank *ranks, int n, struct gate *gate) {
    int started = 1, why = 0;
    while (started < n && why == 0) {
        why = pthread_create(&ranks[started].thread, NULL, thread_main, &ranks[started]);
        started += why == 0;
    }
    move_gate(gate, why == 0 ? OPEN : GIVEN_UP);
    if (why == 0)
        run_rank(&ranks[0]);
    for (int r = 1; r < started; r++)
        pthread_join(ranks[r].thread, NULL);
    if (why != 0)
        SY_FAIL(
            SY_ERR_RUNTIME,
            "the thread of rank %d of %d could not be started (%s): fewer ranks, or raise ulimit -u or -v",
            started, n, strerror(why));
    return outcome(ranks[0].seats);
}

static sy_status run_all(struct sy_seats *s, struct rank *ranks, int *seat,
                         sy_status (*fn)(const struct sy_comm *, void *), void *arg) {
    struct gate gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, CLOSED};
    for (int r = 0; r < s->size; r++)
        seat[r] = r;
    struct sy_team *t = sy_team_create(s, seat, s->size);
    if (!t)
        SY_FAIL(SY_ERR_MEMORY, "no memory for %d ranks", s->size);
    for (int r = 0; r < s->size; r++)
        ranks[r] = (struct rank){
            .comm = {&sy_threads_ops, t, r, s->size, 0}, .seats = s, .fn = fn, .arg = arg, .gate = &gate};
    sy_status status = run_ranks(ranks, s->size, &gate);
    pthread_cond_destroy(&gate.moved);
    pthread_mutex_destroy(&gate.mutex);
    return status;
}

sy_status sy_comm_threads_run(int n, sy_status (*fn)(const struct sy_comm *, void *), void *arg) {
    return sy_comm_threads_run_moved(n, NULL, fn, arg);
}

sy_status sy_comm_threads_run_moved(int n, sy_comm_mover *mover,
                                    sy_status (*fn)(const struct sy_comm *, void *), void *arg) {
    if (n < 1 || n > MAX_RANKS)
        SY_FAIL(SY_ERR_USAGE, "ranks = %d: must be in 1..%d", n, MAX_RANKS);
    struct sy_seats seats;
    SY_TRY(open_seats(&seats, n, mover));
    struct rank *ranks = calloc((size_t)n, sizeof *ranks);
    int *seat = calloc((size_t)n, sizeof *seat);
    sy_status status = ranks && seat ? run_all(&seats, ranks, seat, fn, arg)
                                     : sy_fail(SY_ERR_MEMORY, "no memory for %d ranks", n);
    free(ranks);
    free(seat);
    close_seats(&seats);
    return status;
}
