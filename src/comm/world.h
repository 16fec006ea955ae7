/* The ranks of a run, whatever they are: one alone, threads of this process (`run.ranks`), or processes that
 * a launcher started (mpirun, srun, torchrun).
 *
 *     struct sy_world_options o = sy_world_options(config);
 *     o.stop = io->stop;
 *     SY_TRY(sy_world_run(&o, one_rank, &mine));    // one_rank(comm, &mine), on every rank of the process
 *
 *     started by a launcher, 2 processes or more    mpi: fn is called once in each process
 *     run.ranks = N > 1                             threads: fn is called N times in this process
 *     else                                          self
 *
 * So what `arg` points to is shared by the ranks of a process, and by those alone.
 */
#ifndef SY_COMM_WORLD_H
#define SY_COMM_WORLD_H

#include "comm/comm.h"
#include "comm/launcher.h"
#include "config/config.h"

struct sy_world_options {
    int ranks;            /* run.ranks: threads of this process */
    int launched;         /* 0: a launcher's variables mean nothing (comm.launcher = none) */
    double init_limit;    /* seconds until all must have started: comm.init_timeout_seconds */
    double limit;         /* of fn's communicator: comm.train_timeout_seconds; 0: none */
    sy_comm_mover *mover; /* of threads' exchanges and messages: that of GPUs, if ranks compute on some */
    /* Once it is not 0, no wait for another process lasts longer than two seconds: NULL: never. */
    const volatile int *stop;
};

struct sy_world_options sy_world_options(const struct sy_config *config);

/* Local. How many ranks sy_world_run has, before it has begun, and in *place (NULL: not asked for) which
 * process this is: {rank 0, size 1} unless a launcher started it. Errors: ERR_USAGE a launcher's variables;
 * run.ranks > 1 beside a launcher's processes. */
sy_status sy_world_size(const struct sy_world_options *options, int *ranks, struct sy_launch *place);

/* Local. The processors that this process may use, beside the run's other processes on this host. */
int sy_world_cpus(const struct sy_config *config);

/* Collective. Runs fn(comm, arg) on every rank and returns when those of this process have returned. The
 * status is fn's; of threads, the lowest rank's that failed (sy_comm_threads_run). After an error of fn's
 * over processes the communicator is not good for anything any more: the process is meant to end, with
 * sy_status_exit_code. Once in a process's life, unless it is over threads or one rank. Errors: those of
 * sy_world_size; ERR_UNAVAILABLE a launcher's processes and no MPI in this build; ERR_PEER names the ranks
 * that did not start within init_limit. */
sy_status sy_world_run(const struct sy_world_options *options,
                       sy_status (*fn)(const struct sy_comm *comm, void *arg), void *arg);

/* The MPI that this build is made with, as "Open MPI 4.1.4"; NULL: none. Static. */
const char *sy_comm_mpi_version(void);

/* comm/mpi_run.c where MPI was configured, else comm/mpi_absent.c, which says how to get it. */
sy_status sy_comm_mpi_run(const struct sy_launch *place, const struct sy_world_options *options,
                          sy_status (*fn)(const struct sy_comm *comm, void *arg), void *arg);

#endif
