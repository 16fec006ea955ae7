/* MPI between processes that torchrun started, or that have its variables, and no launcher of MPI.
 *
 * Each is then an MPI job of its own, which Open MPI connects if all know one `ompi-server` before MPI_Init:
 *
 *     rank 0   starts ompi-server; listens at the port below; tells the server's address to all that come
 *     all      MPI_Init
 *     rank 0   for rank 1, 2, ...: MPI_Open_port, tells its name; all ranks before it MPI_Comm_accept
 *     rank r   MPI_Comm_connect, when it was told its name
 *
 * The port is MASTER_PORT; the one after it, where torchrun's agent itself listens at MASTER_PORT
 * (TORCHELASTIC_USE_AGENT_STORE).
 */
#ifndef SY_COMM_MPI_TORCHRUN_H
#define SY_COMM_MPI_TORCHRUN_H

#include <mpi.h>

#include "base/status.h"
#include "comm/launcher.h"

/* Before MPI_Init. Errors: ERR_PEER names the ranks that did not come within `seconds`; ERR_UNAVAILABLE
 * there is no ompi-server here; ERR_IO the port. */
sy_status sy_torchrun_before(const struct sy_launch *place, double seconds);

/* After it: a communicator of all, in the order of their ranks. */
sy_status sy_torchrun_join(const struct sy_launch *place, MPI_Comm *all);

#endif
