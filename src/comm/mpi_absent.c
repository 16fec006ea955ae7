/* Where MPI was not configured: says so to a process that a launcher started. See world.h. */
#include "comm/world.h"

#include <stddef.h>

const char *sy_comm_mpi_version(void) { return NULL; }

sy_status sy_comm_mpi_run(const struct sy_launch *place, const struct sy_world_options *options,
                          sy_status (*fn)(const struct sy_comm *comm, void *arg), void *arg) {
    (void)options;
    (void)fn;
    (void)arg;
    SY_FAIL(
        SY_ERR_UNAVAILABLE,
        "%s started %d processes, and this build has no MPI: `make configure MPI=1 && make` with Debian's "
        "libopenmpi-dev and openmpi-bin, or one process with --run.ranks=%d, or --comm.launcher=none",
        sy_launcher_name(place->launcher), place->size, place->size);
}
