/* How teams of `mpi` end: ranks that leave, ranks that do not come, and memory that comes back. See
 * mpi_team.h.
 *
 * A rank that finds the team dead tells all others why. What had not begun to move then never does; what
 * moves is waited for, shortly: its other end is told, too. A process that was stopped in the middle of a
 * transfer does not answer; then MPI has memory of this rank that it does not give back, and is not called
 * any more: all teams of this process are dead.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "comm/mpi_team.h"

static const double grace = 0.5; /* seconds that the end of a transfer is waited for, twice */

/* --- those who left ------------------------------------------------------------------------------- */

static const struct sy_mpi_team *everyone(void) {
    const struct sy_mpi_team *t = sy_mpi.teams;
    while (t && t->next)
        t = t->next;
    return t;
}

int sy_mpi_has_left(const struct sy_mpi_team *t, int rank) {
    const struct sy_mpi_team *all = everyone();
    return t->left[rank] || (all && all->left[t->process[rank]]);
}

static const struct sy_fault *why_left(const struct sy_mpi_team *t, int rank) {
    const struct sy_mpi_team *all = everyone();
    return t->why[rank] ? t->why[rank] : all ? all->why[t->process[rank]] : NULL;
}

void sy_mpi_was_told_of_leaving(struct sy_mpi_team *t, const struct sy_note *note, const char *message) {
    t->left[note->rank] = 1;
    if (note->status != SY_OK && !t->why[note->rank] && (t->why[note->rank] = calloc(1, sizeof **t->why)))
        sy_fault_add(t->why[note->rank], note->rank, (sy_status)note->status, message);
}

void sy_mpi_leave(struct sy_mpi_team *t, sy_status status) {
    const char *message = status == SY_OK ? "" : sy_error_message();
    struct sy_note note = {.kind = SY_NOTE_LEFT, .status = (int32_t)status};
    t->left[t->rank] = 1;
    for (int r = 0; r < t->size; r++)
        if (r != t->rank)
            sy_mpi_tell(t, r, &note, message, strlen(message) + 1);
}

/* --- death ---------------------------------------------------------------------------------------- */

void sy_mpi_was_told_of_death(struct sy_mpi_team *t, const char *message) {
    if (t->dead.status == SY_OK && !t->left[t->rank]) /* by then it is no matter */
        sy_fault_add(&t->dead, 0, SY_ERR_PEER, message);
}

static void die(struct sy_mpi_team *t, sy_status status) {
    const char *message = sy_error_message();
    sy_fault_add(&t->dead, 0, status, message);
    for (int r = 0; r < t->size; r++)
        if (r != t->rank)
            sy_mpi_tell(t, r, &(struct sy_note){.kind = SY_NOTE_DEAD}, message, strlen(message) + 1);
}

static void cut(const char *why) {
    sy_fault_add(&sy_mpi.cut, 0, SY_ERR_PEER, why);
    sy_mpi.moving = NULL;
    for (struct sy_mpi_team *t = sy_mpi.teams; t; t = t->next)
        if (t->dead.status == SY_OK)
            sy_fault_add(&t->dead, 0, SY_ERR_PEER, why);
}

void sy_mpi_cut(void) {
    char why[SY_FAULT_MESSAGE_BYTES];
    snprintf(why, sizeof why, "%s", sy_error_message());
    if (sy_mpi.cut.status == SY_OK)
        cut(why);
}

static int moves_within(const struct sy_mpi_team *t, double seconds, int cancel) {
    double until = sy_clock() + seconds;
    while (sy_mpi.cut.status == SY_OK && sy_mpi_parts_moving(t, cancel) > 0) {
        if (sy_clock() > until)
            return 1;
        if (sy_mpi_progress())
            continue;
        sy_mpi_unlock();
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
        sy_mpi_lock();
    }
    return 0;
}

void sy_mpi_settle(struct sy_mpi_team *t) {
    if (t->dead.status == SY_OK)
        return;
    sy_mpi_exchanges_withdraw(t);
    sy_mpi_messages_withdraw(t);
    if (moves_within(t, grace, 0) && moves_within(t, grace, 1))
        cut(t->dead.message);
    sy_mpi_exchanges_close(t);
    sy_mpi_messages_close(t);
}

sy_status sy_mpi_alive(struct sy_mpi_team *t) {
    if (t->dead.status == SY_OK)
        return SY_OK;
    sy_mpi_settle(t);
    return sy_fail(t->dead.status, "%s", t->dead.message);
}

/* --- what is said of the missing ------------------------------------------------------------------ */

struct missing {
    const struct sy_mpi_team *t;
    const struct sy_mpi_need *need;
    int (*is)(int rank, const void *arg);
    int left; /* 1: of those, the ones that have left */
};

static int process_if_missing(int rank, const void *arg) {
    const struct missing *m = arg;
    int named = m->is(rank, m->need->arg) && (!m->left || sy_mpi_has_left(m->t, rank));
    return named ? m->t->process[rank] : -1;
}

/* Why the first of the missing that have left did so; one that left because of others is no cause if there
 * is another. */
static const char *cause(const struct sy_mpi_team *t, const struct sy_mpi_need *need) {
    const char *why = NULL;
    for (int r = 0; r < t->size; r++) {
        const struct sy_fault *f = why_left(t, r);
        if (!need->is_absent(r, need->arg) || !f)
            continue;
        if (f->status != SY_ERR_PEER)
            return f->message;
        why = why ? why : f->message;
    }
    return why;
}

void sy_mpi_die_of_leaving(struct sy_mpi_team *t, const struct sy_mpi_need *need) {
    char names[200];
    const struct missing missing = {t, need, need->is_absent, 1};
    int n = sy_fault_name(t->size, process_if_missing, &missing, names, sizeof names);
    const char *why = cause(t, need);
    die(t, sy_fail(SY_ERR_PEER, "%s: %s %s left%s%s", need->operation, names, n == 1 ? "has" : "have",
                   why ? ": " : "", why ? why : ""));
}

void sy_mpi_die_of_waiting(struct sy_mpi_team *t, const struct sy_mpi_need *need, const char *how) {
    char names[200];
    struct missing missing = {t, need, need->is_absent, 0};
    if (sy_fault_name(t->size, process_if_missing, &missing, names, sizeof names) == 0) {
        missing.is = need->is_slow;
        sy_fault_name(t->size, process_if_missing, &missing, names, sizeof names);
    }
    die(t, sy_fail(SY_ERR_PEER, "%s: %s did not come within %s", need->operation, names, how));
}

sy_status sy_mpi_fault_status(const struct sy_mpi_team *t, const struct sy_fault *fault) {
    if (fault->status == SY_OK)
        return SY_OK;
    if (fault->rank == t->rank)
        return sy_fail(fault->status, "%s", fault->message);
    return sy_fail(fault->status, "rank %d: %s", t->process[fault->rank], fault->message);
}
