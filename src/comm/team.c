/* How the ranks of a team wait for each other, and how a wait ends: see team.h. */
#include "comm/team.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "comm/flights.h"

/* --- a team --------------------------------------------------------------------------------------- */

struct sy_team *sy_team_create(struct sy_seats *seats, const int *seat, int size) {
    struct sy_team *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->member = calloc((size_t)size, sizeof *t->member);
    t->flights = sy_flights_create(size);
    if (!t->member || !t->flights) {
        sy_team_free(t);
        return NULL;
    }
    t->seats = seats;
    t->size = t->users = size;
    t->meeting = 1;
    for (int r = 0; r < size; r++)
        t->member[r].seat = seat[r];
    sy_team_lock(t);
    t->next = seats->teams;
    seats->teams = t;
    sy_team_unlock(t);
    return t;
}

void sy_team_free(struct sy_team *t) {
    free(t->member);
    sy_flights_destroy(t->flights);
    free(t);
}

void sy_team_destroy(struct sy_team *t, int rank) {
    sy_team_lock(t);
    t->member[rank].left = 1;
    sy_team_wake_all(t);
    int last = --t->users == 0;
    struct sy_team **at = &t->seats->teams;
    while (*at != t)
        at = &(*at)->next;
    if (last)
        *at = t->next;
    sy_team_unlock(t);
    if (last)
        sy_team_free(t);
}

void sy_team_lock(struct sy_team *t) { pthread_mutex_lock(&t->seats->mutex); }
void sy_team_unlock(struct sy_team *t) { pthread_mutex_unlock(&t->seats->mutex); }

static struct sy_seat *seat_of(const struct sy_team *t, int rank) {
    return &t->seats->seat[t->member[rank].seat];
}

void sy_team_wake(struct sy_team *t, int rank) { pthread_cond_signal(&seat_of(t, rank)->wake); }

void sy_team_wake_all(struct sy_team *t) {
    for (int r = 0; r < t->size; r++)
        sy_team_wake(t, r);
}

int sy_team_move_begin(struct sy_team *t) {
    if (t->dead.status != SY_OK)
        return 0;
    t->moving++;
    return 1;
}

void sy_team_move_end(struct sy_team *t) {
    if (--t->moving == 0 && t->dead.status != SY_OK)
        sy_team_wake_all(t);
}

sy_status sy_team_move(const struct sy_team *t, void *to, const void *from, size_t bytes) {
    if (t->seats->mover)
        return t->seats->mover(to, from, bytes);
    memcpy(to, from, bytes);
    return SY_OK;
}

/* --- faults --------------------------------------------------------------------------------------- */

sy_status sy_fault_status(const struct sy_comm *c, const struct sy_fault *fault) {
    const struct sy_team *t = c->state;
    if (fault->status == SY_OK)
        return SY_OK;
    if (fault->rank == c->rank)
        return sy_fail(fault->status, "%s", fault->message);
    return sy_fail(fault->status, "rank %d: %s", t->member[fault->rank].seat, fault->message);
}

/* --- waiting -------------------------------------------------------------------------------------- */

static int has_left(const struct sy_team *t, int rank) {
    return t->member[rank].left || seat_of(t, rank)->left;
}

struct missing {
    const struct sy_comm *c;
    const struct sy_need *need;
    int left; /* 1: only those that have left */
};

static int seat_if_missing(int rank, const void *arg) {
    const struct missing *m = arg;
    const struct sy_team *t = m->c->state;
    int named = m->need->is_missing(m->c, rank, m->need->arg) && (!m->left || has_left(t, rank));
    return named ? t->member[rank].seat : -1;
}

static int name_missing(const struct sy_comm *c, const struct sy_need *need, int left, char *text,
                        size_t bytes) {
    return sy_fault_name(c->size, seat_if_missing, &(struct missing){c, need, left}, text, bytes);
}

static void die(struct sy_team *t, sy_status status) {
    t->dead.status = status;
    snprintf(t->dead.message, sizeof t->dead.message, "%s", sy_error_message());
    sy_team_wake_all(t);
}

void sy_team_moved(struct sy_team *t, sy_status status) {
    if (status != SY_OK && t->dead.status == SY_OK)
        die(t, status);
}

/* Why the first of the missing that have left did so; one that left because of others is no cause if there
 * is another. */
static const char *cause(const struct sy_comm *c, const struct sy_need *need) {
    const struct sy_team *t = c->state;
    const char *why = NULL;
    for (int r = 0; r < c->size; r++) {
        const struct sy_fault *f = &seat_of(t, r)->why;
        if (!need->is_missing(c, r, need->arg) || f->status == SY_OK)
            continue;
        if (f->status != SY_ERR_PEER)
            return f->message;
        why = why ? why : f->message;
    }
    return why;
}

/* Ranks that still must come; of them, those that never will. */
static int count_missing(const struct sy_comm *c, const struct sy_need *need, int *left) {
    int missing = 0;
    *left = 0;
    for (int r = 0; r < c->size; r++)
        if (need->is_missing(c, r, need->arg)) {
            missing++;
            *left += has_left(c->state, r);
        }
    return missing;
}

static void die_of_those_who_left(const struct sy_comm *c, const struct sy_need *need) {
    char names[200];
    int n = name_missing(c, need, 1, names, sizeof names);
    const char *why = cause(c, need);
    die(c->state, sy_fail(SY_ERR_PEER, "%s: %s %s left%s%s", need->operation, names, n == 1 ? "has" : "have",
                          why ? ": " : "", why ? why : ""));
}

static void die_of_waiting(const struct sy_comm *c, const struct sy_need *need) {
    char names[200];
    name_missing(c, need, 0, names, sizeof names);
    die(c->state, sy_fail(SY_ERR_PEER, "%s: %s did not come within %g s", need->operation, names, c->limit));
}

static struct timespec in_seconds(double seconds) {
    enum { FAR = 1000000000 };
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    seconds = seconds < FAR ? seconds : FAR;
    at.tv_sec += (time_t)seconds;
    at.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
    at.tv_sec += at.tv_nsec / FAR;
    at.tv_nsec %= FAR;
    return at;
}

sy_status sy_team_alive(const struct sy_comm *c) {
    struct sy_team *t = c->state;
    if (t->dead.status == SY_OK)
        return SY_OK;
    while (t->moving > 0)
        pthread_cond_wait(&seat_of(t, c->rank)->wake, &t->seats->mutex);
    return sy_fail(t->dead.status, "%s", t->dead.message);
}

/* What only moves yet is not waited for with a limit: it ends by itself. */
sy_status sy_team_wait(const struct sy_comm *c, const struct sy_need *need) {
    struct sy_team *t = c->state;
    struct sy_seat *seat = seat_of(t, c->rank);
    struct timespec until = {0};
    int late = 0;
    while (!need->is_there(c, need->arg)) {
        int left, missing = t->dead.status == SY_OK ? count_missing(c, need, &left) : 0;
        if (missing && left)
            die_of_those_who_left(c, need);
        else if (missing && late)
            die_of_waiting(c, need);
        if (t->dead.status != SY_OK)
            return sy_team_alive(c);
        if (!missing || c->limit <= 0) {
            pthread_cond_wait(&seat->wake, &t->seats->mutex);
            continue;
        }
        if (until.tv_sec == 0)
            until = in_seconds(c->limit);
        late = pthread_cond_timedwait(&seat->wake, &t->seats->mutex, &until) != 0;
    }
    return SY_OK;
}
