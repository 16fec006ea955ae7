# replay on processes: a run's step again, from its checkpoint, by as many ranks as a launcher started; a flipped bit is found,
# and said once.
. tests/lib/check.sh
. tests/lib/mpirun.sh
train good --training.steps=5 --checkpoint.interval=3 --run.ranks=2
train flipped --training.steps=5 --checkpoint.interval=3 --debug.break=flip_at_step_4
ls -lR "$room/good" >"$room/before"

over() { # RANKS RUN [option...]
    n=$1 dir=$room/$2
    shift 2
    code=0
    mpi "$n" "$BIN" replay "$dir" --step 5 "$@" >"$room/out" 2>&1 || code=$?
}
for layout in "2" "3" "2 --parallelism.pipeline_parallel_degree=2" "4 --parallelism.expert_parallel_degree=4"; do
    over ${layout%% *} good $(echo "$layout" | sed 's/^[0-9]* *//')
    expect 0 "replay on $layout"
    same "$(grep -c ' same$' "$room/out")" 2 "replay on $layout: steps"
    same "$(grep -c '^step 5: the digest agrees$' "$room/out")" 1 "replay on $layout: said once"
done
ls -lR "$room/good" | diff "$room/before" - || fail "replay wrote to the run"
over 2 flipped
expect 1 "a flipped bit"
same "$(grep -c '^step 4 .* DIFFERENT$' "$room/out")" 1 "a flipped bit: said once"
same "$(grep -c 'switchyard: .*step 4 of .* cannot be repeated' "$room/out")" 1 "a flipped bit: the error"
over 2 good --run.ranks=2
expect 2 "threads and processes"
says 'run.ranks = 2, and mpirun started 2 processes' "threads and processes"
over 9 good
expect 2 "more processes than lanes"
over 2 good --comm.launcher=none # each alone
expect 0 "comm.launcher = none"
same "$(grep -c '^step 5: the digest agrees$' "$room/out")" 2 "comm.launcher = none"
finish
