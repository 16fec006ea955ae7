/* Who started this process, and as which of how many: what mpirun, srun and torchrun tell in variables.
 *
 *     mpirun     OMPI_COMM_WORLD_RANK, _SIZE, _LOCAL_RANK, _LOCAL_SIZE
 *     srun       PMIX_RANK or PMI_RANK; SLURM_STEP_NUM_TASKS or PMI_SIZE; SLURM_LOCALID, _STEP_TASKS_PER_NODE
 *     torchrun   RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT
 *
 * The first of them that is there counts: a job of torchrun's that was itself started by srun is torchrun's
 * only if srun gave it no PMI.
 */
#ifndef SY_COMM_LAUNCHER_H
#define SY_COMM_LAUNCHER_H

#include "base/status.h"

enum sy_launcher { SY_LAUNCHER_NOBODY, SY_LAUNCHER_MPIRUN, SY_LAUNCHER_SRUN, SY_LAUNCHER_TORCHRUN };

struct sy_launch { /* of this process */
    enum sy_launcher launcher;
    int rank, size;      /* 0 of 1: alone */
    int local_rank;      /* among those of this host, */
    int local_size;      /* and how many these are; 1 if it is not said */
    const char *address; /* torchrun: where rank 0 is; the environment's */
    int port;            /* and a port there that is free */
};

/* Local. Reads the environment. Errors: ERR_USAGE names a variable that is missing, is no number or is out of
 * bounds; ERR_USAGE srun that started several processes and tells them nothing. */
sy_status sy_launcher_find(struct sy_launch *out);

/* Static: "mpirun". */
const char *sy_launcher_name(enum sy_launcher launcher);

#endif
