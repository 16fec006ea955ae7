# For tests that start processes: mpi N COMMAND..., on this host, with more of them than processors, also as root. A launcher
# that has not ended after five minutes never will: it is ended, exit 124.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
mpi() {
    ranks=$1
    shift
    timeout -k 5 300 mpirun -n "$ranks" --oversubscribe --bind-to none "$@"
}
