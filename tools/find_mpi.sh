#!/bin/sh
# Lines for build/config.mk with which Open MPI is built against; none and exit 2, with one line that says what to install,
# if it is not here.
#   usage: tools/find_mpi.sh 1      (nothing, 0: no lines)
set -eu
case ${1-} in
'' | 0) exit 0 ;;
1) ;;
*)
    echo "configure: MPI=$1: must be 1 or 0" >&2
    exit 2
    ;;
esac
if pkg-config --exists ompi-c 2>/dev/null; then
    flags=$(pkg-config --cflags ompi-c) libs=$(pkg-config --libs ompi-c)
elif command -v mpicc >/dev/null; then
    flags=$(mpicc --showme:compile 2>/dev/null) && libs=$(mpicc --showme:link 2>/dev/null) || {
        echo "configure: MPI=1: $(command -v mpicc) is not Open MPI's: install Debian's libopenmpi-dev and openmpi-bin" >&2
        exit 2
    }
else
    echo "configure: MPI=1: neither pkg-config's ompi-c nor mpicc is here: install Debian's libopenmpi-dev and openmpi-bin" >&2
    exit 2
fi
printf 'MPI = 1\nMPI_CFLAGS = %s\nMPI_LIBS = %s\n' "$flags" "$libs"
