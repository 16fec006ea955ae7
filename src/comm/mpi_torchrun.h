/* MPI between processes that torchrun started, and no launcher of MPI. */
#ifndef SY_COMM_MPI_TORCHRUN_H
#define SY_COMM_MPI_TORCHRUN_H

#include <mpi.h>

#include "base/status.h"
#include "comm/launcher.h"

/* Before MPI_Init. */
sy_status sy_torchrun_before(const struct sy_place *place, double seconds);
/* After it: a communicator of all. */
sy_status sy_torchrun_join(const struct sy_place *place, double seconds, MPI_Comm *all);

#endif
