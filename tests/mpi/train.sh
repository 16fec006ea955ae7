# Training over processes: the bits and the checkpoints of one rank, from mpirun and with torchrun's variables; ranks that are
# stopped, killed, or told to stop: how the others end, that nothing is half-written, and that any number of ranks goes on.
. tests/lib/check.sh
. tests/lib/mpirun.sh
keep="--training.steps=4 --checkpoint.interval=1 --checkpoint.keep_latest_k=0"

# over RANKS RUN [option...]: `train` on so many processes.
over() {
    ranks=$1 dir=$room/$2
    shift 2
    code=0
    mpi "$ranks" "$BIN" train "$config" --run.dir="$dir" --run.threads=1 "$@" >"$room/out" 2>&1 || code=$?
}
for config in configs/micro_mla.toml configs/micro_gqa.toml; do
    rm -rf "${room:?}"/one
    train one $keep
    for ranks in 2 4; do
        rm -rf "$room/many"
        over $ranks many $keep
        expect 0 "$config, $ranks processes"
        says "$ranks ranks: pipeline 1, data parallel $ranks" "$config, $ranks processes"
        same "$(grep -c '^digest of step' "$room/out")" 1 "$config, $ranks processes: digests that are printed"
        same "$(history many)" "$(history one)" "$config, $ranks processes: metrics"
        diff -r "$(checkpoint one 4)" "$(checkpoint many 4)" || fail "$config, $ranks processes: checkpoint"
    done
done
want=$(history one)

# Every axis, and both at once: processes, processes whose stages or experts are on others.
stage=--parallelism.pipeline_parallel_degree experts=--parallelism.expert_parallel_degree
layout() {
    rm -rf "$room/many"
    ranks=$1
    shift
    over "$ranks" many $keep "$@"
    expect 0 "$ranks processes, $*"
    same "$(history many)" "$want" "$ranks processes, $*: metrics"
    diff -r "$(checkpoint one 4)" "$(checkpoint many 4)" || fail "$ranks processes, $*: checkpoint"
}
layout 2 $stage=2
layout 2 $experts=2
layout 4 $stage=2 $experts=2
layout 4 --parallelism.data_parallel_replicate_degree=2 $experts=4
over 2 direct $keep $experts=2 --parallelism.expert_parallel_comm_backend=direct
expect 2 "direct, over processes"
says 'transport "mpi"' "direct, over processes"

# One weight at two sites, on the first and the last stage.
rm -rf "$room/one"
train one $keep --model.tie_word_embeddings
want=$(history one)
layout 3 --model.tie_word_embeddings
layout 4 $stage=2 --parallelism.data_parallel_shard_degree=2 --model.tie_word_embeddings
rm -rf "$room/one"
train one $keep
want=$(history one)

train routes --training.steps=2 --moe.routes_out="$room/routes_one"
over 3 routes3 --training.steps=2 --moe.routes_out="$room/routes_many"
expect 0 "routes of 3 processes"
diff -r "$room/routes_one" "$room/routes_many" || fail "routes of 3 processes"

copy_until one parts 1
over 3 parts $keep
same "$(history parts)" "$want" "resumed on 3 processes"
train many2 $keep --run.ranks=2
copy_until many2 threads 2
over 2 threads $keep
expect 0 "two threads, then two processes"
same "$(history threads)" "$want" "two threads, then two processes"

# With torchrun's variables.
port=$((30000 + $$ % 10000))
for rank in 1 0; do
    RANK=$rank WORLD_SIZE=2 LOCAL_RANK=$rank MASTER_ADDR=localhost MASTER_PORT=$port "$BIN" train $config \
        --run.dir="$room/torch" --run.threads=1 $keep >"$room/out.$rank" 2>&1 &
done
wait
same "$(history torch)" "$want" "torchrun's variables"
same "$(cat "$room/out.1")" "" "what the second process prints"

# What is wrong is said once, and by the first.
over 2 bad --numerics.lanes=3
expect 2 "a config that is refused"
same "$(grep -c '^switchyard' "$room/out")" 1 "a config that is refused: lines"
[ ! -e "$room/bad" ] || fail "a config that was refused left a folder"
over 2 bad --run.ranks=2
says 'run.ranks = 2, and mpirun started 2 processes' "threads and processes"

# --- ranks that end ---------------------------------------------------------------------------------------
train whole --training.steps=300 --lr_scheduler.warmup_steps=5 --checkpoint.interval=20
whole=$(history whole)

# begin RUN [option...]: 3 processes in the background, whose numbers come to $room/pid.<rank>; until step 22 is done.
begin() {
    dir=$room/$1
    shift
    rm -f "$room"/pid.*
    : >"$room/out"
    mpirun -n 3 --oversubscribe --bind-to none sh -c 'room=$0 && echo $$ >"$room/pid.$OMPI_COMM_WORLD_RANK" && exec "$@"' "$room" \
        env --default-signal=INT,TERM,HUP,USR1,USR2,XCPU "$BIN" train "$config" --run.dir="$dir" --run.threads=1 \
        --training.steps=300 --lr_scheduler.warmup_steps=5 --checkpoint.interval=20 "$@" >"$room/out" 2>&1 &
    pid=$!
    wait_for "$dir/metrics.jsonl" '"step":22,'
}
# end CODE WHAT: waits for mpirun.
end() {
    code=0
    wait $pid || code=$?
    expect "$1" "$2"
}
# goes_on RUN WHAT: one rank goes on, with the bits of a run that nobody stopped.
goes_on() {
    train "$1" --training.steps=300 --lr_scheduler.warmup_steps=5
    expect 0 "$2, resumed"
    same "$(history "$1")" "$whole" "$2, resumed"
}
for rank in 1 0; do
    begin stopped$rank --comm.train_timeout_seconds=2
    since=$(date +%s)
    kill -STOP "$(cat "$room/pid.$rank")"
    end 5 "rank $rank is stopped"
    [ $(($(date +%s) - since)) -lt 20 ] || fail "rank $rank is stopped: the others needed $(($(date +%s) - since)) s"
    says "switchyard: .*step [0-9]*: ([a-z ]*(layer [0-9]+|embedding and head): )?[a-z_0-9]*: rank.* $rank.* did not come within 2 s" "rank $rank is stopped"
    goes_on stopped$rank "rank $rank is stopped"
done
begin killed
kill -KILL "$(cat "$room/pid.2")"
end 137 "rank 2 is killed"
goes_on killed "rank 2 is killed"

# A signal that mpirun passes on to all.
begin told
kill -USR1 $pid
end 138 "USR1 to mpirun"
says "^stopped after step [0-9]*$" "USR1 to mpirun"
same "$(grep -c 'saving after this step' "$room/out")" 1 "USR1 to mpirun: lines"
[ -d "$(checkpoint told "$(sed -n 's/^stopped after step //p' "$room/out")")" ] || fail "USR1 to mpirun: not saved"
goes_on told "USR1 to mpirun"

# Told to stop while a collective cannot complete: not even the limit is waited for.
begin both --comm.train_timeout_seconds=600
kill -STOP "$(cat "$room/pid.1")"
since=$(date +%s)
sleep 0.5
kill -TERM "$(cat "$room/pid.0")"
end 5 "stopped, and told to stop"
[ $(($(date +%s) - since)) -lt 20 ] || fail "stopped, and told to stop: $(($(date +%s) - since)) s"
says "(rank 1|ranks 0 and 1|ranks 1 and 2) did not come within 2 s of the request to stop" "stopped, and told to stop"
goes_on both "stopped, and told to stop"
ls -d "$room"/*/checkpoints/.tmp-* 2>/dev/null && fail "a checkpoint that is half-written"
finish
