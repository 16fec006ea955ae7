# The sha256sum of every file of a checkpoint, from 1, 2, 3 and 8 ranks that are processes, beside one rank and as many threads.
. tests/lib/check.sh
. tests/lib/mpirun.sh
. tests/lib/sums.sh
config=configs/micro_mla.toml
first
for ranks in 1 2 3 8; do
    train "threads$ranks" --training.steps=3 --run.ranks=$ranks
    again "threads$ranks" "$ranks threads"
    code=0
    mpi $ranks "$BIN" train $config --run.dir="$room/mpi$ranks" --run.threads=1 --training.steps=3 >"$room/out" 2>&1 || code=$?
    expect 0 "$ranks processes"
    [ $ranks -eq 1 ] || says "$ranks ranks: pipeline 1, data parallel $ranks" "$ranks processes"
    again "mpi$ranks" "$ranks processes"
done
finish
