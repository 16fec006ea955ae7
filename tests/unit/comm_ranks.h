/* Ranks for the tests of transports: threads of this process; or, where mpirun has started the test, its
 * processes, each of which then runs all the tests, with what a test shares between ranks in memory that they
 * share.
 */
#ifndef SY_TESTS_UNIT_COMM_RANKS_H
#define SY_TESTS_UNIT_COMM_RANKS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "comm/mpi_team.h"
#include "comm/world.h"

/* There where MPI was configured, and used where mpirun has started the test. */
#pragma weak sy_mpi
#pragma weak sy_mpi_lock
#pragma weak sy_mpi_unlock
#pragma weak sy_mpi_settle
#pragma weak sy_mpi_leave
#pragma weak sy_mpi_team_free

enum { MOST = 8 }; /* ranks */

struct shared { /* by the processes */
    struct sy_fault outcome[MOST];
    char arg[1 << 16];
};

struct processes {
    const struct sy_comm *all; /* NULL: ranks are threads */
    struct shared *shared;
    int (*tests)(void);
    int failed;
};

static struct processes processes;

static inline int most_ranks(void) { return processes.all ? processes.all->size : MOST; }
static inline int are_threads(void) { return processes.all == NULL; }

/* The lowest rank's failure; one that others' leaving made only if there is no other. */
static inline sy_status outcome_of(const struct sy_fault *outcome, int n) {
    const struct sy_fault *worst = NULL;
    for (int r = n - 1; r >= 0; r--)
        if (outcome[r].status != SY_OK &&
            (!worst || outcome[r].status != SY_ERR_PEER || worst->status == SY_ERR_PEER))
            worst = &outcome[r];
    return worst ? sy_fail(worst->status, "%s", worst->message) : SY_OK;
}

static inline void must(sy_status status) {
    if (status == SY_OK)
        return;
    fprintf(stderr, "between tests: %s\n", sy_error_message());
    abort();
}

/* This process leaves all teams but that of all processes, as a thread does that returns. */
static inline void leave_teams(sy_status status) {
    char why[SY_FAULT_MESSAGE_BYTES];
    snprintf(why, sizeof why, "%s", sy_error_message());
    sy_mpi_lock();
    for (struct sy_mpi_team *t = sy_mpi.teams; t && t->next; t = t->next) {
        sy_mpi_settle(t);
        sy_mpi_leave(t, status == SY_OK ? status : sy_fail(status, "%s", why));
    }
    sy_mpi_unlock();
}

static inline void free_teams(void) {
    sy_mpi_lock();
    while (sy_mpi.teams->next)
        sy_mpi_team_free(sy_mpi.teams);
    sy_mpi_unlock();
}

/* fn(comm, arg) on n <= most_ranks() ranks; arg [bytes] is shared by them. */
static inline sy_status run_ranks(int n, sy_status (*fn)(const struct sy_comm *, void *), void *arg,
                                  size_t bytes) {
    const struct sy_comm *all = processes.all;
    struct shared *s = processes.shared;
    if (!all)
        return sy_comm_threads_run(n, fn, arg);
    if (n > all->size || bytes > sizeof s->arg)
        abort();
    if (all->rank == 0) {
        memset(s, 0, sizeof *s);
        if (bytes)
            memcpy(s->arg, arg, bytes);
    }
    struct sy_comm c;
    must(all->ops->split(all, SY_OK, all->rank < n ? 0 : -1, 0, &c));
    c.limit = 0;
    if (all->rank < n) {
        sy_status status = fn(&c, s->arg);
        sy_fault_add(&s->outcome[all->rank], 0, status, sy_error_message());
        leave_teams(status);
    }
    must(all->ops->agree(all, SY_OK));
    free_teams();
    sy_status status = outcome_of(s->outcome, n);
    if (bytes)
        memcpy(arg, s->arg, bytes);
    must(all->ops->agree(all, SY_OK));
    return status;
}

static inline sy_status share_memory(const struct sy_comm *all) {
    char path[] = "/dev/shm/switchyard-test.XXXXXX";
    int file = all->rank == 0 ? mkstemp(path) : -1;
    sy_status status = SY_OK;
    if (all->rank == 0 && (file < 0 || ftruncate(file, sizeof(struct shared)) != 0))
        status = sy_fail(SY_ERR_IO, "%s cannot be made", path);
    SY_TRY(all->ops->broadcast(all, status, 0, path, sizeof path));
    if (all->rank == 0)
        close(file);
    FILE *f = fopen(path, "r+");
    if (f)
        processes.shared =
            mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, fileno(f), 0);
    status = !f || processes.shared == MAP_FAILED ? sy_fail(SY_ERR_IO, "%s cannot be mapped", path) : SY_OK;
    if (f)
        fclose(f);
    SY_TRY(all->ops->agree(all, status));
    if (all->rank == 0)
        unlink(path);
    return SY_OK;
}

static inline sy_status test_in_processes(const struct sy_comm *all, void *arg) {
    (void)arg;
    processes.all = all;
    SY_TRY(share_memory(all));
    processes.failed = processes.tests();
    return SY_OK;
}

/* tests() on threads, or in each process that mpirun started. */
static inline int test_on_ranks(int (*tests)(void)) {
    struct sy_world_options o = {.ranks = 1, .launched = 1, .init_limit = 60, .limit = 60};
    int ranks;
    processes.tests = tests;
    if (sy_world_size(&o, &ranks, NULL) != SY_OK || ranks == 1)
        return tests();
    if (sy_world_run(&o, test_in_processes, NULL) != SY_OK)
        fprintf(stderr, "%s\n", sy_error_message());
    else if (!processes.failed)
        return 0;
    return 1;
}

#endif
