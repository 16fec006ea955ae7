# verify on processes: layouts of as many ranks as there are, one digest, which is one rank's.
. tests/lib/check.sh
. tests/lib/mpirun.sh
most=12
[ -z "${QUICK-}" ] || most=4
for ranks in 2 4; do
    code=0
    mpi $ranks "$BIN" verify configs/micro_gqa.toml --steps 1 --layouts $most >"$room/out" 2>&1 || code=$?
    expect 0 "verify on $ranks processes"
    says "^$most layouts, 1 steps: one digest" "verify on $ranks processes"
    same "$(grep -cE "^ +$ranks  .*  same$" "$room/out")" $((most - 1)) "verify on $ranks processes: layouts of so many ranks"
    same "$(grep -cE '^ +1  .*  first$' "$room/out")" 1 "verify on $ranks processes: the first layout"
done
code=0
mpi 2 "$BIN" verify configs/micro_gqa.toml --break swap_sequences >"$room/out" 2>&1 || code=$?
expect 2 "a planted bug on processes"
says 'planted bugs are looked for in one process, and mpirun started 2' "a planted bug on processes"
finish
