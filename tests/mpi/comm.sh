# The tests of transports, on 2, 3 and 4 processes.
. tests/lib/check.sh
. tests/lib/mpirun.sh
programs=$(dirname "$BIN")/tests/unit
for ranks in 2 3 4; do
    for name in test_comm test_comm_groups test_comm_ends; do
        mpi $ranks "$programs/$name" >"$room/out" 2>&1 || {
            fail "$name on $ranks processes"
            grep -E 'FAILED|ERROR|error|between' "$room/out" | head -n 20
        }
    done
done
finish
