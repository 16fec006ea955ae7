/* Progress of a process of `mpi`, and how its rank waits: see mpi_team.h. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "comm/mpi_team.h"

struct sy_mpi sy_mpi = {.mutex = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER};

void sy_mpi_lock(void) { pthread_mutex_lock(&sy_mpi.mutex); }
void sy_mpi_unlock(void) { pthread_mutex_unlock(&sy_mpi.mutex); }

/* --- notes ---------------------------------------------------------------------------------------- */

static void send_to(int process, const void *note, size_t bytes) {
    if (sy_mpi.cut.status == SY_OK && sy_wire_send_note(process, note, bytes) != SY_OK)
        sy_mpi_cut();
    sy_mpi.pending++; /* until progress has looked */
}

void sy_mpi_tell(const struct sy_mpi_team *t, int rank, const struct sy_note *note, const void *body,
                 size_t bytes) {
    struct {
        struct sy_note note;
        char body[SY_NOTE_ROOM];
    } all = {.note = *note};
    all.note.team = t->id;
    all.note.rank = t->rank;
    if (bytes)
        memcpy(all.body, body, bytes);
    send_to(t->process[rank], &all, sizeof all.note + bytes);
}

void sy_mpi_keep(struct sy_mpi_team *t, const struct sy_note *note, const char *body) {
    struct sy_arrival *a = malloc(sizeof *a), **end = &t->arrivals;
    if (!a) {
        (void)sy_fail(SY_ERR_MEMORY, "no memory for a message of rank %d", t->process[note->rank]);
        sy_mpi_cut();
        return;
    }
    a->next = NULL;
    a->note = *note;
    memcpy(a->body, body, SY_NOTE_ROOM);
    while (*end)
        end = &(*end)->next;
    *end = a;
}

struct sy_arrival *sy_mpi_find(struct sy_mpi_team *t, const struct sy_note *like) {
    for (struct sy_arrival **at = &t->arrivals, *a; (a = *at) != NULL; at = &a->next)
        if (a->note.kind == like->kind && a->note.number == like->number && a->note.tag == like->tag &&
            (like->rank < 0 || a->note.rank == like->rank)) {
            *at = a->next;
            return a;
        }
    return NULL;
}

static void to_team(struct sy_mpi_team *t, const struct sy_note *note, const char *body) {
    if (note->kind == SY_NOTE_DEAD)
        sy_mpi_was_told_of_death(t, body);
    else if (note->kind == SY_NOTE_LEFT)
        sy_mpi_was_told_of_leaving(t, note, body);
    else if (t->dead.status != SY_OK)
        return;
    else if (note->kind == SY_NOTE_EXCHANGE)
        sy_mpi_exchange_came(t, note, body);
    else if (note->kind == SY_NOTE_MESSAGE)
        sy_mpi_message_came(t, note, body);
}

/* A team that is not here was destroyed: a rank knows a new one before any other can use it. */
static void note_came(int process, const struct sy_note *note, const char *body) {
    sy_mpi.heard[process] = sy_clock();
    if (note->kind == SY_NOTE_PING)
        send_to(process, &(struct sy_note){.kind = SY_NOTE_PONG}, sizeof *note);
    else if (note->kind == SY_NOTE_ASK || note->kind == SY_NOTE_TAKEN || note->kind == SY_NOTE_GONE)
        sy_mpi_was_answered(process, note);
    else if (note->kind != SY_NOTE_PONG)
        for (struct sy_mpi_team *t = sy_mpi.teams; t; t = t->next)
            if (t->id == note->team && note->rank >= 0 && note->rank < t->size &&
                t->process[note->rank] == process)
                to_team(t, note, body);
}

int sy_mpi_progress(void) {
    static struct {
        struct sy_note note;
        char body[SY_NOTE_ROOM];
    } in;
    size_t bytes;
    int any = 0, from;
    while (sy_mpi.cut.status == SY_OK) {
        if (sy_wire_next_note(&from, &in, &bytes) != SY_OK)
            sy_mpi_cut();
        else if (bytes >= sizeof in.note)
            note_came(from, &in.note, in.body);
        else
            break;
        any = 1;
    }
    any |= sy_mpi_move_parts();
    if (sy_mpi.pending && sy_mpi.cut.status == SY_OK && sy_wire_notes_pending(&sy_mpi.pending) != SY_OK)
        sy_mpi_cut();
    return any;
}

/* --- waiting -------------------------------------------------------------------------------------- */

static int any_left(const struct sy_mpi_team *t, const struct sy_mpi_need *need) {
    for (int r = 0; r < t->size; r++)
        if (need->is_absent(r, need->arg) && sy_mpi_has_left(t, r))
            return 1;
    return 0;
}

struct patience {
    double since; /* the wait's begin, or the last time that bytes moved */
    double asked; /* those that are missed, whether they answer */
    uint64_t moved;
    int idle; /* looks at what has come, since something had */
};

enum { LOOKS_AGAIN = 20 }; /* after the limit: this process itself may have been stopped */

/* A rank that computes answers; one that is stopped does not. Two seconds after *stop nobody waits for it. */
static int has_given_up(const struct sy_mpi_team *t, const struct sy_mpi_need *need, struct patience *p) {
    const double last = 2, again = 0.25;
    double now = sy_clock();
    int silent = 0;
    if (!sy_mpi.stop || !*sy_mpi.stop)
        return 0;
    if (sy_mpi.stopped == 0)
        sy_mpi.stopped = now;
    double from = p->since > sy_mpi.stopped ? p->since : sy_mpi.stopped;
    int ask = now - p->asked > again;
    for (int r = 0; r < t->size; r++) {
        if (!need->is_absent(r, need->arg) && !need->is_slow(r, need->arg))
            continue;
        double heard = sy_mpi.heard[t->process[r]];
        silent |= now - (heard > from ? heard : from) > last;
        if (ask)
            sy_mpi_tell(t, r, &(struct sy_note){.kind = SY_NOTE_PING}, NULL, 0);
    }
    p->asked = ask ? now : p->asked;
    return silent;
}

/* Yields at first; then sleeps, longer and longer: others need the processors. While bytes move it yields for
 * long, as MPI moves some of them in every look. */
static void rest(const struct patience *p) {
    enum { YIELDS = 40, MOVING_YIELDS = 4000, SHORTEST = 20, LONGEST = 500 };
    int yields = sy_mpi.moving ? MOVING_YIELDS : YIELDS;
    long us = SHORTEST * (1 + (p->idle - yields) / 4);
    sy_mpi_unlock();
    if (p->idle < yields)
        sched_yield();
    else
        nanosleep(&(struct timespec){.tv_nsec = 1000 * (us < LONGEST ? us : LONGEST)}, NULL);
    sy_mpi_lock();
}

static void look(struct patience *p) {
    p->idle = sy_mpi_progress() ? 0 : p->idle + 1;
    if (p->moved != sy_mpi.moved)
        p->since = sy_clock();
    p->moved = sy_mpi.moved;
}

static sy_status wait_for(const struct sy_comm *c, const struct sy_mpi_need *need) {
    struct sy_mpi_team *t = c->state;
    struct patience p = {.since = sy_clock(), .moved = sy_mpi.moved};
    for (int late = 0;;) {
        look(&p);
        if (need->is_there(need->arg))
            return SY_OK;
        if (t->dead.status == SY_OK && any_left(t, need))
            sy_mpi_die_of_leaving(t, need);
        late = c->limit > 0 && sy_clock() - p.since > c->limit ? late + 1 : 0;
        if (t->dead.status == SY_OK && late > LOOKS_AGAIN) {
            char how[32];
            snprintf(how, sizeof how, "%g s", c->limit);
            sy_mpi_die_of_waiting(t, need, how);
        } else if (t->dead.status == SY_OK && has_given_up(t, need, &p)) {
            sy_mpi_die_of_waiting(t, need, "2 s of the request to stop");
        }
        if (t->dead.status != SY_OK)
            return sy_mpi_alive(t);
        rest(&p);
    }
}

sy_status sy_mpi_wait(const struct sy_comm *c, const struct sy_mpi_need *need) {
    sy_mpi.waits = 1;
    sy_status status = wait_for(c, need);
    sy_mpi.waits = 0;
    return status;
}
