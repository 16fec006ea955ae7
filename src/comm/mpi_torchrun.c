/* Not there yet: see mpi_torchrun.h. */
#include "comm/mpi_torchrun.h"
sy_status sy_torchrun_before(const struct sy_place *place, double seconds) {
    (void)place, (void)seconds;
    SY_FAIL(SY_ERR_UNAVAILABLE,
            "processes of torchrun do not find each other in this release: use mpirun or srun");
}
sy_status sy_torchrun_join(const struct sy_place *place, double seconds, MPI_Comm *all) {
    (void)place, (void)seconds, (void)all;
    SY_FAIL(SY_ERR_UNAVAILABLE,
            "processes of torchrun do not find each other in this release: use mpirun or srun");
}
