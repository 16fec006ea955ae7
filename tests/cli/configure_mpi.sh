# What `make configure MPI=1` says where there is no Open MPI, or another MPI; and that without MPI=1 it asks for nothing.
. tests/lib/check.sh
mkdir "$room/none" "$room/other"
for tool in sh cat printf; do
    for folder in none other; do
        ln -s "$(command -v $tool)" "$room/$folder/$tool" 2>/dev/null
    done
done
printf '#!/bin/sh\necho "mpicc for another MPI" >&2\nexit 1\n' >"$room/other/mpicc"
chmod +x "$room/other/mpicc"
# find FOLDER ARGUMENT: with that PATH alone.
find() {
    code=0
    PATH=$room/$1 sh tools/find_mpi.sh "$2" >"$room/out" 2>&1 || code=$?
}
find none 1
expect 2 "no Open MPI"
same "$(cat "$room/out")" \
    "configure: MPI=1: neither pkg-config's ompi-c nor mpicc is here: install Debian's libopenmpi-dev and openmpi-bin" "no Open MPI"
find other 1
expect 2 "another MPI"
says "mpicc is not Open MPI's: install Debian's" "another MPI"
find none yes
expect 2 "MPI=yes"
says '^configure: MPI=yes: must be 1 or 0$' "MPI=yes"
for no in "" 0; do
    find none "$no"
    expect 0 "MPI=$no"
    same "$(cat "$room/out")" "" "MPI=$no"
done
finish
