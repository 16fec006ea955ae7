# For tests that start processes: mpi N COMMAND..., on this host, with more of them than processors, also as root.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
mpi() {
    ranks=$1
    shift
    mpirun -n "$ranks" --oversubscribe --bind-to none "$@"
}
