# training.batch_ramp: a batch by step. Its bits are those of a run that is resumed with each batch in turn, in every
# layout and across every interruption; a table of one batch is that batch; rows that cannot be are named.
. tests/lib/check.sh

steps=6
keep="--training.steps=$steps --checkpoint.interval=1 --checkpoint.keep_latest_k=0 --numerics.lanes=4"
ramp() { # RUN option...: 8, then 16, then 4 sequences
    name=$1
    shift
    train "$name" $keep '--training.batch_ramp=0: 8' '--training.batch_ramp=2:16' '--training.batch_ramp= 5 : 4' "$@"
    expect 0 "$name"
}
for config in configs/micro_mla.toml configs/micro_gqa.toml; do # the second: parts alone
    rm -rf "$room"/[a-z]*
    ramp whole
    want=$(history whole)
    same "$(echo "$want" | wc -l)" $steps "$config: lines of metrics"
    same "$(sed -n 's/.*"tokens":\([0-9]*\),"batch":\([0-9]*\),.*/\1 \2/p' "$room/whole/metrics.jsonl" | tr '\n' ' ')" \
        "256 8 512 8 1024 16 1536 16 2048 16 2176 4 " "$config: tokens and batches"
    grep -q '^ *step .* batch ' "$room/whole/log.txt" || fail "$config: no column says the batch"

    # The same from three runs, each going on with another batch: nothing but the batch changes between them.
    train parts $keep --training.global_batch_size=8
    copy_until parts two 2
    train two $keep --training.global_batch_size=16
    copy_until two three 5
    train three $keep --training.global_batch_size=4
    same "$(history three)" "$want" "$config: the batch of each part, stated"

    [ $config = configs/micro_mla.toml ] || break
    # Layouts; a run that is killed at a row's step, or between two, goes on, in others too.
    for layout in "--run.ranks=2" "--run.ranks=3 --parallelism.expert_parallel_degree=3" \
        "--run.ranks=4 --parallelism.pipeline_parallel_degree=2 --parallelism.data_parallel_shard_degree=2" \
        "--training.local_batch_size=3 --activation_checkpoint.mode=full --run.tier=ref"; do
        rm -rf "$room/other"
        # shellcheck disable=SC2086
        ramp other $layout
        same "$(history other)" "$want" "$config: $layout"
    done
    for k in 2 3; do
        copy_until whole again $k
        if [ $k -eq 2 ]; then ramp again --run.ranks=2; else ramp again; fi
        says "resumed from .*step-0000000$k at step $k" "$config: resumed at $k"
        same "$(history again)" "$want" "$config: resumed at $k"
        diff -r "$(checkpoint whole $steps)" "$(checkpoint again $steps)" >/dev/null || fail "$config: resumed at $k: checkpoint"
    done
    copy_until whole inherited 3
    train inherited --training.steps=$steps --checkpoint.interval=1
    same "$(history inherited)" "$want" "$config: the checkpoint's table"
done

# A table of one batch is that batch: metrics but for times, checkpoints.
train plain $keep --training.global_batch_size=8
rm -rf "$room/table"
train table $keep '--training.batch_ramp=0: 8' '--training.batch_ramp=3: 8'
same "$(history table)" "$(history plain)" "a constant table"
same "$(cd "$(checkpoint table $steps)" && cat -- *.safetensors | cksum)" \
    "$(cd "$(checkpoint plain $steps)" && cat -- *.safetensors | cksum)" "a constant table: the checkpoint"

# What else takes steps.
run verify "$config" --steps 4 --layouts 4 '--training.batch_ramp=0: 8' '--training.batch_ramp=2: 16'
expect 0 "verify"
run replay "$room/whole" --step 6
expect 0 "replay of a step of another batch"
run plan "$config" '--training.batch_ramp=0: 8' '--training.batch_ramp=9: 64'
expect 0 "plan"
says "a step of 2048 tokens, 4.75 GFLOP in 20 steps" "the plan is of the largest batch, its sum of all"

refused() { # PATTERN option...
    pattern=$1
    shift
    run train "$config" --run.dir="$room/wrong" --training.steps=2 "$@"
    expect 2 "$*"
    says "$pattern" "$*"
}
refused '"8 sequences" is no number of steps' '--training.batch_ramp=8 sequences'
refused '"0: 0" is no number of steps' '--training.batch_ramp=0: 0'
refused '"0: 8x" is no number of steps' '--training.batch_ramp=0: 8x'
refused '"2: 8" is the first row, and must be after 0 steps' '--training.batch_ramp=2: 8'
refused '"5: 8" is not after more steps than the row before it, "5: 16"' \
    '--training.batch_ramp=0: 8' '--training.batch_ramp=5: 16' '--training.batch_ramp=5: 8'
refused 'row "3: 12": numerics.lanes times numerics.cell = 8 does not divide 12' \
    --numerics.lanes=8 '--training.batch_ramp=0: 8' '--training.batch_ramp=3: 12'
refused 'training.batch_ramp, which has up to 16 sequences, are two batches' \
    --training.global_batch_size=8 '--training.batch_ramp=0: 16'
refused 'a file of routes has as many sequences in each step' '--training.batch_ramp=0: 8' --moe.routes_out="$room/routes"
finish
