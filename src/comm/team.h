/* What the files of `threads` share: the seats of a run, one for each thread, and the teams of seats that
 * its communicators are.
 *
 *   threads.c       starts and ends the threads       collectives.c   agree, all_gather, broadcast, sum
 *   split.c         makes teams out of a team         flights.c       all-to-alls in flight
 *   team.c          this header                       messages.c      point to point
 *   windows.c       ranks that write into each other's memory
 *
 * One mutex guards all of it. Bytes move without it, between sy_team_move_begin and _end. A rank sleeps in
 * one call at a time, on its seat's condition, and looks anew whenever it is woken: for what it waits for;
 * whether a rank that this needs has left; whether its time is over. The last two kill the team, for good.
 * In a dead team nothing new moves, and who learns of its death waits for what still does: from then on
 * nobody touches that rank's memory.
 */
#ifndef SY_COMM_TEAM_H
#define SY_COMM_TEAM_H

#include <pthread.h>

#include "comm/fault.h"
#include "comm/messages.h"

struct sy_seat {
    pthread_cond_t wake;
    int left;            /* its thread has returned, with */
    struct sy_fault why; /* this */
};

struct sy_seats {
    pthread_mutex_t mutex;
    int size;
    sy_comm_mover *mover; /* between ranks' memory; NULL: memcpy */
    struct sy_seat *seat; /* [size] */
    struct sy_team *teams;
};

struct sy_member { /* a rank in a team */
    int seat;
    void *data;   /* what it shows the others in a collective, from its first meeting to its second */
    uint64_t met; /* its last meeting */
    int open;     /* requests in flight */
    int left;     /* has destroyed its communicator */
};

struct sy_team {
    struct sy_seats *seats;
    struct sy_team *next; /* of seats->teams */
    int size, users;
    struct sy_member *member; /* [size] */
    struct sy_fault dead;     /* its status: of every call from now on; OK: alive */
    int moving;               /* ranks that copy out of or into the memory of others */
    uint64_t meeting;         /* number of the one that gathers; those who came */
    int here;
    struct sy_fault fault[2]; /* of meeting n: n mod 2. Nobody comes to n + 2 before all have left n */
    struct sy_messages messages;
    struct sy_flights *flights;
};

/* Local. On `size` seats, of ranks `seat` [size] of the run; freed when all its ranks have destroyed it, or
 * with the seats. NULL: no memory. The mutex is not held. */
struct sy_team *sy_team_create(struct sy_seats *seats, const int *seat, int size);
/* For one rank. */
void sy_team_destroy(struct sy_team *t, int rank);
/* For all of them. */
void sy_team_free(struct sy_team *t);

void sy_team_lock(struct sy_team *t);
void sy_team_unlock(struct sy_team *t);

/* --- with the mutex held -------------------------------------------------------------------------- */

/* OK, or how the team died; then nothing moves any more. */
sy_status sy_team_alive(const struct sy_comm *c);

/* What a rank waits for. */
struct sy_need {
    const char *operation;
    int (*is_there)(const struct sy_comm *c,
                    void *arg); /* may give up the mutex for a while, but not if not there */
    int (*is_missing)(const struct sy_comm *c, int rank, const void *arg); /* for that, this rank must come */
    void *arg;
};

/* Sleeps until it is there: OK; else the team is dead. */
sy_status sy_team_wait(const struct sy_comm *c, const struct sy_need *need);

void sy_team_wake(struct sy_team *t, int rank);
void sy_team_wake_all(struct sy_team *t);

/* A copy between ranks' memory begins: 0, and it must not, if the team is dead. */
int sy_team_move_begin(struct sy_team *t);
void sy_team_move_end(struct sy_team *t);

/* The copy itself, without the mutex; its status is for sy_team_moved. */
sy_status sy_team_move(const struct sy_team *t, void *to, const void *from, size_t bytes);
/* With the mutex, ahead of sy_team_move_end: a copy that failed is the team's death. */
void sy_team_moved(struct sy_team *t, sy_status status);

/* The agreed status, with its message. */
sy_status sy_fault_status(const struct sy_comm *c, const struct sy_fault *fault);

extern const struct sy_comm_windows sy_threads_windows;

/* --- the transport -------------------------------------------------------------------------------- */

extern const struct sy_comm_ops sy_threads_ops;

/* collectives.c, split.c: as in struct sy_comm_ops. */
sy_status sy_threads_agree(const struct sy_comm *c, sy_status mine);
sy_status sy_threads_all_gather(const struct sy_comm *c, sy_status mine, const void *send, size_t bytes,
                                void *recv);
sy_status sy_threads_broadcast(const struct sy_comm *c, sy_status mine, int root, void *data, size_t bytes);
sy_status sy_threads_sum_i64(const struct sy_comm *c, sy_status mine, int64_t *v, int64_t n);
sy_status sy_threads_split(const struct sy_comm *c, sy_status mine, int color, int key, struct sy_comm *out);
void sy_threads_destroy(struct sy_comm *c);

#endif
