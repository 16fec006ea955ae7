/* What the files of `mpi` share: a process, and the teams of processes that its communicators are.
 *
 *   mpi_run.c       starts and ends a process       mpi_exchange.c   all collectives
 *   mpi_process.c   progress, and how a rank waits  mpi_messages.c   point to point
 *   mpi_ends.c      how waits and teams end         mpi_split.c      teams out of a team
 *   mpi_parts.c     many bytes between two ranks    mpi_wire.c       calls MPI, and nobody else does
 *
 * Everything is a note (mpi_wire.h) from one rank of a team to another, or a transfer that notes have agreed
 * on. A collective is an exchange: every rank sends every other one a note that says which exchange it has
 * begun, with which status, and how many bytes it has for it: few of them in the note itself. When the notes
 * of all have come, all have agreed, and only then do the ranks ask each other for the other bytes:
 *
 *     a  OFFER n bytes, number s  ->  b      with its note, or its message
 *     a  <-  ASK for s, under a tag  b       b's memory is ready: MPI_Irecv is posted
 *     a  bytes, under the tag     ->  b
 *
 * so that MPI never has memory of a rank for another one that may never come. A rank makes progress while it
 * waits; a thread of its own makes it, more slowly, while it computes and something of its is in flight: that
 * is why a wait needs only the others' begin.
 *
 * One mutex guards all of it; it is not held while anyone sleeps.
 */
#ifndef SY_COMM_MPI_TEAM_H
#define SY_COMM_MPI_TEAM_H

#include <pthread.h>

#include "comm/comm.h"
#include "comm/fault.h"
#include "comm/mpi_wire.h"

/* --- notes ---------------------------------------------------------------------------------------- */

enum sy_note_kind {
    SY_NOTE_EXCHANGE, /* the sender has begun exchange `number` */
    SY_NOTE_MESSAGE,  /* of point to point, with `tag` */
    SY_NOTE_ASK,      /* for the offer `number`, under `tag`; */
    SY_NOTE_TAKEN,    /* or it came with the note and was received; */
    SY_NOTE_GONE,     /* or there is no such offer any more: nothing will come under `tag` */
    SY_NOTE_DEAD,     /* the team is dead: the message says why */
    SY_NOTE_LEFT,     /* the sender has left the team, with `status` and message */
    SY_NOTE_PING,     /* a question whether the process answers, */
    SY_NOTE_PONG      /* and that it does */
};

struct sy_note {
    int32_t kind, rank;  /* the sender's, in the team */
    int32_t tag, status; /* of the sender; not OK: its message follows */
    uint64_t team, number;
    uint64_t offer, bytes; /* for the receiver: up to SY_NOTE_ROOM of them follow, more are offered */
};

enum { SY_NOTE_ROOM = SY_WIRE_NOTE_BYTES - (int)sizeof(struct sy_note) }; /* for bytes or a message */
_Static_assert((int)SY_NOTE_ROOM > (int)SY_FAULT_MESSAGE_BYTES, "a message fits");

struct sy_arrival { /* a note whose other end this rank has not begun */
    struct sy_arrival *next;
    struct sy_note note;
    char body[SY_NOTE_ROOM];
};

/* --- parts ---------------------------------------------------------------------------------------- */

/* Bytes from one rank to another that are too many for a note. */
struct sy_part {
    struct sy_wire_transfer t;
    const struct sy_mpi_team *team;
    struct sy_part *next;
    uint64_t offer; /* of the end that sends: not 0 until it was answered */
    int *left;      /* is counted down when it is done */
};

/* --- teams ---------------------------------------------------------------------------------------- */

struct sy_mpi_team {
    struct sy_mpi_team *next; /* of the process's */
    uint64_t id;              /* the same on all its ranks, and no other team's */
    int size, rank;
    int *process;                          /* [size] rank in the run */
    struct sy_fault dead;                  /* its status: of every call from now on; OK: alive */
    char *left;                            /* [size] */
    struct sy_fault **why;                 /* [size] of those that left with one; NULL: none */
    uint64_t begun;                        /* exchanges */
    struct sy_exchange *exchanges, *spare; /* SY_COMM_MAX_REQUESTS + 1 in all */
    struct sy_message *messages;           /* begun here and not waited for; oldest first */
    struct sy_arrival *arrivals;           /* oldest first */
};

struct sy_mpi {
    pthread_mutex_t mutex;
    pthread_cond_t work; /* something is in flight again, or the start is over */
    int rank, size;
    struct sy_mpi_team *teams; /* the last one: all processes */
    struct sy_part *offered, *moving;
    uint64_t last_offer, last_tag, last_team, last_message;
    int open;            /* requests of this rank that it has not waited for */
    int waits;           /* it makes progress itself */
    int pending;         /* notes that MPI still has */
    uint64_t moved;      /* pieces so far */
    double *heard;       /* [size] when a note of that process came last */
    struct sy_fault cut; /* not OK: MPI is not called any more, and all teams are dead */
    const volatile int *stop;
    double stopped; /* when *stop was first seen; 0: not yet */
};

extern struct sy_mpi sy_mpi;
extern const struct sy_comm_ops sy_mpi_ops;

static inline struct sy_mpi_team *sy_mpi_team_of(const struct sy_comm *c) { return c->state; }

/* --- with the mutex held: mpi_process.c ------------------------------------------------------------ */

void sy_mpi_lock(void);
void sy_mpi_unlock(void);

/* Takes what has come and moves what can be moved; returns whether there was any. */
int sy_mpi_progress(void);

/* What a rank waits for. */
struct sy_mpi_need {
    const char *operation;
    int (*is_there)(const void *arg);
    int (*is_absent)(int rank, const void *arg); /* for that, this rank must come */
    int (*is_slow)(int rank, const void *arg);   /* it has come, and still bytes from or to it must move */
    const void *arg;
};

/* Sleeps until it is there: OK; else the team is dead. */
sy_status sy_mpi_wait(const struct sy_comm *c, const struct sy_mpi_need *need);

/* To a rank of the team. */
void sy_mpi_tell(const struct sy_mpi_team *t, int rank, const struct sy_note *note, const void *body,
                 size_t bytes);

/* --- mpi_ends.c ------------------------------------------------------------------------------------ */

/* Of a team that is dead nothing of this rank's moves any more, and its requests are over. */
void sy_mpi_settle(struct sy_mpi_team *t);
/* OK; or that, and how the team died. */
sy_status sy_mpi_alive(struct sy_mpi_team *t);
/* The team dies on all ranks. Of those that the need misses some have left, or did not come: `how` and
 * when. */
void sy_mpi_die_of_leaving(struct sy_mpi_team *t, const struct sy_mpi_need *need);
void sy_mpi_die_of_waiting(struct sy_mpi_team *t, const struct sy_mpi_need *need, const char *how);
int sy_mpi_has_left(const struct sy_mpi_team *t, int rank);
void sy_mpi_was_told_of_death(struct sy_mpi_team *t, const char *message);
void sy_mpi_was_told_of_leaving(struct sy_mpi_team *t, const struct sy_note *note, const char *message);
/* This rank leaves the team, with `status` and its message. */
void sy_mpi_leave(struct sy_mpi_team *t, sy_status status);
/* MPI has failed, or has memory that it does not give back (the thread's message): it is not called again. */
void sy_mpi_cut(void);
/* The agreed status, with its message. */
sy_status sy_mpi_fault_status(const struct sy_mpi_team *t, const struct sy_fault *fault);

/* --- mpi_parts.c ----------------------------------------------------------------------------------- */

/* p->t.data and bytes are set. The number of the offer, which goes with a note to the rank; *left is
 * counted up now, and down when it is done. */
uint64_t sy_mpi_offer(const struct sy_mpi_team *t, int rank, struct sy_part *p, int *left);
void sy_mpi_withdraw(struct sy_part *p);
/* The same for the end that receives: asks for it. */
void sy_mpi_ask(const struct sy_mpi_team *t, int rank, uint64_t offer, struct sy_part *p, int *left);
void sy_mpi_say_taken(const struct sy_mpi_team *t, int rank, uint64_t offer);
/* ASK, TAKEN, GONE. */
void sy_mpi_was_answered(int process, const struct sy_note *note);
/* Returns whether any did. */
int sy_mpi_move_parts(void);
/* How many of a team's parts move; cancel: receives are given up if nothing has come of them. */
int sy_mpi_parts_moving(const struct sy_mpi_team *t, int cancel);

/* --- mpi_exchange.c, mpi_messages.c, mpi_split.c --------------------------------------------------- */

void sy_mpi_exchange_came(struct sy_mpi_team *t, const struct sy_note *note, const char *body);
sy_status sy_mpi_exchange_wait(const struct sy_comm *c, struct sy_comm_request *request);
sy_status sy_mpi_exchanges_create(struct sy_mpi_team *t);
void sy_mpi_exchanges_free(struct sy_mpi_team *t); /* none is open */
/* Of a team that is dead, in two halves: offers are void; when nothing moves any more, all is closed. */
void sy_mpi_exchanges_withdraw(struct sy_mpi_team *t);
void sy_mpi_exchanges_close(struct sy_mpi_team *t);

void sy_mpi_message_came(struct sy_mpi_team *t, const struct sy_note *note, const char *body);
sy_status sy_mpi_message_wait(const struct sy_comm *c, struct sy_comm_request *request);
void sy_mpi_messages_withdraw(struct sy_mpi_team *t);
void sy_mpi_messages_close(struct sy_mpi_team *t);

/* Of the ranks `process` [size] of the run; NULL: no memory. Freed when nothing of it is in flight. */
struct sy_mpi_team *sy_mpi_team_create(uint64_t id, const int *process, int size);
void sy_mpi_team_free(struct sy_mpi_team *t);
/* Keeps a note until its other end begins. */
void sy_mpi_keep(struct sy_mpi_team *t, const struct sy_note *note, const char *body);
/* The oldest note of a kind with this number and tag, of any rank if rank < 0, taken out; or NULL. The caller
 * frees it. */
struct sy_arrival *sy_mpi_find(struct sy_mpi_team *t, const struct sy_note *like);

/* As in struct sy_comm_ops. */
sy_status sy_mpi_agree(const struct sy_comm *c, sy_status mine);
sy_status sy_mpi_all_gather(const struct sy_comm *c, sy_status mine, const void *send, size_t bytes,
                            void *recv);
sy_status sy_mpi_all_to_all_begin(const struct sy_comm *c, sy_status mine, const void *send,
                                  const int64_t *send_at, void *recv, const int64_t *recv_at,
                                  struct sy_comm_request *request);
sy_status sy_mpi_broadcast(const struct sy_comm *c, sy_status mine, int root, void *data, size_t bytes);
sy_status sy_mpi_sum_i64(const struct sy_comm *c, sy_status mine, int64_t *v, int64_t n);
sy_status sy_mpi_send_begin(const struct sy_comm *c, int to, int tag, const void *data, size_t bytes,
                            struct sy_comm_request *request);
sy_status sy_mpi_recv_begin(const struct sy_comm *c, int from, int tag, void *data, size_t bytes,
                            struct sy_comm_request *request);
sy_status sy_mpi_split(const struct sy_comm *c, sy_status mine, int color, int key, struct sy_comm *out);
void sy_mpi_destroy(struct sy_comm *c);

#endif
