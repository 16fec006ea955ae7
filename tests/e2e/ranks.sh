# Training over ranks that are threads: the same bits and the same bytes of a checkpoint from any number of them, every
# step on another number, held-out loss, skipped steps, counters, and what is refused.
. tests/lib/check.sh

keep="--training.steps=4 --checkpoint.interval=1 --checkpoint.keep_latest_k=0"
held="--validation.enable --data.holdout=0.1 --validation.freq=2"

for config in configs/micro_mla.toml configs/micro_gqa.toml; do
    rm -rf "${room:?}"/*
    train one $keep $held
    expect 0 "$config"
    want=$(history one)
    same "$(echo "$want" | wc -l)" 4 "$config: lines of metrics"
    for ranks in 2 3 4 6 8; do
        [ -z "${QUICK-}" ] || [ $ranks -eq 3 ] || continue
        train many $keep $held --run.ranks=$ranks
        expect 0 "$config, $ranks ranks"
        says "$ranks ranks: pipeline 1, data parallel $ranks" "$config, $ranks ranks"
        same "$(history many)" "$want" "$config, $ranks ranks: metrics"
        same "$(grep '"kind":"eval"' "$room/many/metrics.jsonl")" "$(grep '"kind":"eval"' "$room/one/metrics.jsonl")" \
            "$config, $ranks ranks: held-out loss"
        diff -r "$(checkpoint one 4)" "$(checkpoint many 4)" || fail "$config, $ranks ranks: checkpoint"
        rm -rf "$room/many"
    done
    k=0 # the run dies after step k
    for ranks in 3 1 8 2; do
        k=$((k + 1))
        train parts $keep $held --run.ranks=$ranks
        expect 0 "$config, $ranks ranks, from step $((k - 1))"
        same "$(history parts)" "$want" "$config resumed at $((k - 1)) on $ranks ranks"
        copy_until parts rest $k
        rm -rf "$room/parts"
        mv "$room/rest" "$room/parts"
    done
done

# Lane groups, dealt 2, 1, 1; cells of two sequences, two rounds, batches that cut them; every recompute.
config=configs/micro_mla.toml
groups="--training.steps=2 --training.global_batch_size=32 --numerics.expert_lanes=2 --numerics.cell=2"
train groups $groups
want=$(history groups)
for ranks in 2 3 4; do
    for mode in none full selective; do
        [ -z "${QUICK-}" ] || [ $mode = full ] || continue
        rm -rf "$room/many"
        train many $groups --run.ranks=$ranks --activation_checkpoint.mode=$mode --training.local_batch_size=$ranks
        same "$(history many)" "$want" "lane groups over $ranks ranks, recompute $mode"
    done
done
# A number of lanes that is no power of two: 6 on 4 ranks.
six="--training.steps=2 --training.global_batch_size=12 --numerics.lanes=6"
train six $six
want=$(history six)
for ranks in 2 4 5 6; do
    [ -z "${QUICK-}" ] || [ $ranks -eq 4 ] || continue
    rm -rf "$room/many"
    train many $six --run.ranks=$ranks
    same "$(history many)" "$want" "6 lanes over $ranks ranks"
done

# Weights in shards, gathered layer by layer: more layers than rooms, ranks with fewer passes than others, held-out
# sequences that some ranks have none of; and replicas of shards, which own parts of the same.
layers="--training.steps=3 --model.n_layers=5 --training.local_batch_size=2 $held"
rm -rf "$room/one"
train one $layers
want=$(history one)
eval=$(grep '"kind":"eval"' "$room/one/metrics.jsonl")
while read -r ranks replicate shard after recompute; do
    [ -z "${QUICK-}" ] || [ "$ranks" -eq 6 ] || continue
    rm -rf "$room/many"
    train many $layers --run.ranks="$ranks" --parallelism.data_parallel_replicate_degree="$replicate" \
        --parallelism.data_parallel_shard_degree="$shard" --parallelism.fsdp_reshard_after_forward="$after" \
        --activation_checkpoint.mode="$recompute"
    what="$ranks ranks, replicate $replicate x shard $shard, reshard $after, recompute $recompute"
    says "(replicate $replicate x shard $shard)" "$what"
    same "$(history many)" "$want" "$what"
    same "$(grep '"kind":"eval"' "$room/many/metrics.jsonl")" "$eval" "$what: held-out loss"
    diff -r "$(checkpoint one 3)" "$(checkpoint many 3)" || fail "$what: checkpoint"
done <<'END'
2 1 2 always none
3 1 3 never full
4 2 2 default selective
4 4 1 default none
5 1 5 default none
6 3 2 always full
6 2 3 never none
8 1 8 always selective
END

# A step that is not applied, on every rank.
train nan --training.steps=3 --debug.break=nan_at_step_2 --run.nonfinite=skip
want=$(history nan)
train nan2 --training.steps=3 --debug.break=nan_at_step_2 --run.nonfinite=skip --run.ranks=3
expect 0 "a skipped step on 3 ranks"
same "$(history nan2)" "$want" "a skipped step on 3 ranks"
train stop --training.steps=3 --debug.break=nan_at_step_2 --run.ranks=3
expect 4 "a step that is not finite, on 3 ranks"
says "step 2 was not applied: 1 gradient elements" "a step that is not finite, on 3 ranks"
[ -d "$(checkpoint stop 1)" ] || fail "the step before was not saved by 3 ranks"

# The counters of one rank.
train counters --training.steps=2 --run.ranks=2 --metrics.moe_counters --metrics.moe_counters_rank=1
expect 0 "counters of rank 1"
says 'path_local +[1-9]' "counters of rank 1"

# What cannot be leaves nothing behind.
train nine --run.ranks=9
expect 2 "9 ranks"
says 'numerics.lanes = 8: P = 8 .* DP = 9 .*: a rank would have no lane' "9 ranks"
train groups3 --run.ranks=3 --numerics.expert_lanes=8
expect 2 "a lane group in three"
says 'a lane group would lie in two of the 3 expert-parallel groups' "a lane group in three"
[ ! -e "$room/nine" ] && [ ! -e "$room/groups3" ] || fail "a mesh that was refused left a folder"

# Rank 0 alone has the folder: all end with its error.
train broken --training.steps=1
rm -f "$room/broken/metrics.jsonl"
mkdir "$room/broken/metrics.jsonl"
train broken --training.steps=3 --run.ranks=3
expect 1 "no metrics under 3 ranks"
says 'metrics.jsonl: ' "no metrics under 3 ranks"
finish
