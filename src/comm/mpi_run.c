/* A process of `mpi`, from its start to its end: see mpi_team.h and world.h.
 *
 *     thread:  MPI_Init, then progress whenever the rank makes none; MPI_Finalize
 *     rank:    waits for the first, meets all others, runs fn, leaves, waits until all have left
 *
 * MPI_Init waits for all processes and knows no limit; so it is the thread that calls it. MPI_Finalize does,
 * too: it is called only when all have left. Else the process ends without it, which its launcher sees.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "comm/mpi_team.h"
#include "comm/world.h"

static sy_status wait_for(const struct sy_comm *c, struct sy_comm_request *request) {
    if (request->kind == SY_COMM_NONE)
        return SY_OK;
    return request->kind == SY_COMM_EXCHANGE ? sy_mpi_exchange_wait(c, request)
                                             : sy_mpi_message_wait(c, request);
}

const struct sy_comm_ops sy_mpi_ops = {.name = "mpi",
                                       .agree = sy_mpi_agree,
                                       .all_gather = sy_mpi_all_gather,
                                       .all_to_all = sy_comm_all_to_all,
                                       .all_to_all_begin = sy_mpi_all_to_all_begin,
                                       .broadcast = sy_mpi_broadcast,
                                       .sum_i64 = sy_mpi_sum_i64,
                                       .send_begin = sy_mpi_send_begin,
                                       .recv_begin = sy_mpi_recv_begin,
                                       .wait = wait_for,
                                       .split = sy_mpi_split,
                                       .destroy = sy_mpi_destroy};

/* --- the thread ----------------------------------------------------------------------------------- */

/* Outlives sy_comm_mpi_run, when MPI_Init does not return. */
static struct {
    struct sy_launch place;
    double seconds;
    int begun, opened;
    enum { GOES_ON, IS_LEFT, IS_CLOSED } how; /* the thread ends, closes MPI before */
    sy_status status;
    char message[SY_FAULT_MESSAGE_BYTES];
    pthread_t thread;
} life;

static struct timespec in_seconds(double seconds) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    seconds = seconds < 1e9 ? seconds : 1e9;
    at.tv_sec += (time_t)seconds;
    at.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
    at.tv_sec += at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    return at;
}

/* In flight: looks often, less often where nothing comes. Else it only answers those who ask whether this
 * process is there. */
static void keep_moving(void) {
    enum { SHORTEST = 100, LONGEST = 1000 }; /* microseconds */
    const double idle = 0.1;
    long us = SHORTEST;
    while (life.how == GOES_ON) {
        if (sy_mpi.open == 0 && sy_mpi.pending == 0) {
            struct timespec at = in_seconds(idle);
            pthread_cond_timedwait(&sy_mpi.work, &sy_mpi.mutex, &at);
            us = SHORTEST;
        } else {
            sy_mpi_unlock();
            nanosleep(&(struct timespec){.tv_nsec = 1000 * us}, NULL);
            sy_mpi_lock();
        }
        if (!sy_mpi.waits && sy_mpi_progress())
            us = SHORTEST;
        else
            us = 2 * us < LONGEST ? 2 * us : LONGEST;
    }
}

static void *thread_main(void *arg) {
    (void)arg;
    sy_status status = sy_wire_open(&life.place, life.seconds);
    sy_mpi_lock();
    life.status = status;
    snprintf(life.message, sizeof life.message, "%s", sy_error_message());
    life.opened = 1;
    pthread_cond_broadcast(&sy_mpi.work);
    if (status == SY_OK)
        keep_moving();
    int closes = life.how == IS_CLOSED;
    sy_mpi_unlock();
    if (status == SY_OK && closes)
        sy_wire_close();
    return NULL;
}

/* --- start ---------------------------------------------------------------------------------------- */

/* Signals are for the threads that were there before. */
static int start_thread(void) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int why = pthread_create(&life.thread, NULL, thread_main, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return why;
}

static sy_status wait_for_start(void) {
    const double to_say_so =
        life.place.launcher == SY_LAUNCHER_TORCHRUN ? 1 : 0; /* it knows who did not come */
    struct timespec until = in_seconds(life.seconds + to_say_so);
    int late = 0;
    while (!life.opened && !late)
        late = pthread_cond_timedwait(&sy_mpi.work, &sy_mpi.mutex, &until) == ETIMEDOUT;
    if (!life.opened)
        SY_FAIL(SY_ERR_PEER,
                "start: MPI_Init has not returned within %g s (comm.init_timeout_seconds): not all "
                "of the %d processes have come",
                life.seconds, life.place.size);
    return life.status == SY_OK ? SY_OK : sy_fail(life.status, "%s", life.message);
}

static sy_status make_world(struct sy_mpi_team **out) {
    sy_mpi.rank = sy_wire_rank();
    sy_mpi.size = sy_wire_size();
    sy_mpi.heard = calloc((size_t)sy_mpi.size, sizeof *sy_mpi.heard);
    int *process = calloc((size_t)sy_mpi.size, sizeof *process);
    for (int r = 0; process && r < sy_mpi.size; r++)
        process[r] = r;
    *out = sy_mpi.heard && process ? sy_mpi_team_create(0, process, sy_mpi.size) : NULL;
    free(process);
    if (!*out)
        SY_FAIL(SY_ERR_MEMORY, "no memory for %d ranks", sy_mpi.size);
    return SY_OK;
}

static sy_status start(const struct sy_launch *place, double seconds, struct sy_mpi_team **world) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&sy_mpi.work, &monotonic);
    pthread_condattr_destroy(&monotonic);
    life.place = *place;
    life.seconds = seconds;
    sy_mpi_lock();
    int why = start_thread();
    sy_status status =
        why ? sy_fail(SY_ERR_RUNTIME, "the thread of MPI could not be started (%s)", strerror(why))
            : wait_for_start();
    if (status == SY_OK)
        status = make_world(world);
    sy_mpi_unlock();
    return status;
}

/* --- end ------------------------------------------------------------------------------------------ */

static int have_all_left(const void *arg) {
    const struct sy_mpi_team *t = arg;
    int here = 0;
    for (int r = 0; r < t->size; r++)
        here += r != t->rank && !t->left[r];
    return here == 0;
}

static int is_here(int rank, const void *arg) {
    const struct sy_mpi_team *t = arg;
    return rank != t->rank && !t->left[rank];
}

/* The others are told how it ended here, and waited for: after a failure shortly, as they may learn of it. */
static sy_status end(struct sy_mpi_team *world, double limit, sy_status status) {
    const double shortly = 2;
    struct sy_comm c = {&sy_mpi_ops, world, world->rank, world->size, status == SY_OK ? limit : shortly};
    sy_mpi_lock();
    sy_mpi_settle(world);
    sy_mpi_leave(world, status);
    world->dead.status = SY_OK; /* from here on only how others leave it counts */
    sy_status left =
        sy_mpi.open == 0 && sy_mpi.cut.status == SY_OK
            ? sy_mpi_wait(&c, &(struct sy_mpi_need){"end", have_all_left, is_here, is_here, world})
            : SY_ERR_PEER;
    life.how = left == SY_OK ? IS_CLOSED : IS_LEFT;
    pthread_cond_broadcast(&sy_mpi.work);
    sy_mpi_unlock();
    pthread_join(life.thread, NULL);
    return left;
}

#define TEXT_OF(x) #x
#define VERSION(a, b, c) "Open MPI " TEXT_OF(a) "." TEXT_OF(b) "." TEXT_OF(c)
const char *sy_comm_mpi_version(void) {
    return VERSION(OMPI_MAJOR_VERSION, OMPI_MINOR_VERSION, OMPI_RELEASE_VERSION);
}

sy_status sy_comm_mpi_run(const struct sy_launch *place, const struct sy_world_options *options,
                          sy_status (*fn)(const struct sy_comm *comm, void *arg), void *arg) {
    char why[SY_FAULT_MESSAGE_BYTES];
    struct sy_mpi_team *world;
    if (life.begun)
        SY_FAIL(SY_ERR_USAGE, "a process is a rank of a run once: start another one");
    life.begun = 1;
    SY_TRY(start(place, options->init_limit, &world));
    struct sy_comm c = {&sy_mpi_ops, world, world->rank, world->size, options->init_limit};
    sy_status status = sy_mpi_agree(&c, SY_OK);
    c.limit = options->limit;
    sy_mpi.stop = options->stop;
    if (status == SY_OK)
        status = fn(&c, arg);
    snprintf(why, sizeof why, "%s", sy_error_message());
    sy_status left = end(world, options->limit, status);
    if (status != SY_OK)
        return sy_fail(status, "%s", why);
    return left;
}
