# Training over stages: the same bits and the same bytes of a checkpoint from every schedule, on pipelines of 2 and 4 ranks,
# with data-parallel ones as well; held-out loss, skipped steps, a resume on another pipeline, and what is refused.
. tests/lib/check.sh

eight="--model.n_layers=8 --training.steps=2 --checkpoint.interval=1 --checkpoint.keep_latest_k=0"
held="--validation.enable --data.holdout=0.1 --validation.freq=1"

# ranks, pipeline, schedule, sequences of a micro-batch, recompute, layers of a stage (0: by itself), and with --parallelism.
layouts="2 2 GPipe 4 selective 0
4 4 GPipe 2 none 0
2 2 1F1B 1 full 0
4 4 1F1B 3 selective 0
4 2 1F1B 2 none 0
2 2 Interleaved1F1B 1 selective 0
8 4 Interleaved1F1B 2 full 0
6 2 Interleaved1F1B 4 none 0
3 3 Interleaved1F1B 2 full 0
2 2 InterleavedZeroBubble 2 none 0
4 4 InterleavedZeroBubble 1 selective 0
6 3 InterleavedZeroBubble 2 full 0
2 2 Interleaved1F1B 2 selective 3
2 2 Interleaved1F1B 5 none 1
4 4 InterleavedZeroBubble 4 none 3
4 2 1F1B 2 selective 0 data_parallel_shard_degree=2
6 2 InterleavedZeroBubble 1 none 0 data_parallel_shard_degree=3 fsdp_reshard_after_forward=always
8 2 Interleaved1F1B 2 full 0 data_parallel_shard_degree=2 data_parallel_replicate_degree=2
4 2 Interleaved1F1B 1 full 0 expert_parallel_degree=2
6 2 InterleavedZeroBubble 2 selective 0 expert_parallel_degree=3
4 2 GPipe 2 none 0 expert_parallel_degree=2 expert_parallel_comm_backend=direct
8 2 1F1B 4 none 0 expert_parallel_degree=2 data_parallel_shard_degree=4"

# Under a sanitizer another third of them with each config; every schedule, shards and experts are among them.
third=0
for config in configs/micro_mla.toml configs/micro_gqa.toml; do
    third=$((1 - third))
    rm -rf "${room:?}"/*
    train one $eight $held
    expect 0 "$config"
    want=$(history one)
    same "$(echo "$want" | wc -l)" 2 "$config: lines of metrics"
    while read -r ranks pp schedule local mode layers axes; do
        what="$config, $ranks ranks, pipeline $pp, $schedule"
        [ "$layers" = 0 ] || what="$what, $layers layers a stage"
        more=
        [ "$layers" = 0 ] || more="--parallelism.pipeline_parallel_layers_per_stage=$layers"
        for axis in $axes; do
            more="$more --parallelism.$axis"
            what="$what, $axis"
        done
        train many $eight $held --run.ranks=$ranks --parallelism.pipeline_parallel_degree=$pp \
            --parallelism.pipeline_parallel_schedule=$schedule --training.local_batch_size=$local \
            --activation_checkpoint.mode=$mode $more
        expect 0 "$what"
        says "$ranks ranks: pipeline $pp, data parallel $((ranks / pp))" "$what"
        same "$(history many)" "$want" "$what: metrics"
        same "$(grep '"kind":"eval"' "$room/many/metrics.jsonl")" "$(grep '"kind":"eval"' "$room/one/metrics.jsonl")" \
            "$what: held-out loss"
        diff -r "$(checkpoint one 2)" "$(checkpoint many 2)" || fail "$what: checkpoint"
        rm -rf "$room/many"
    done <<END
$(echo "$layouts" | awk -v quick="${QUICK-}" -v third=$third '!quick || NR % 3 == third')
END
done

# Each step in another layout.
config=configs/micro_mla.toml
rm -rf "${room:?}"/*
eight="--model.n_layers=8 --training.steps=4 --checkpoint.interval=1 --checkpoint.keep_latest_k=0"
train one $eight
want=$(history one)
k=0
for layout in "1 1 1F1B" "4 4 1F1B" "6 2 Interleaved1F1B" "2 2 InterleavedZeroBubble"; do
    k=$((k + 1))
    read -r ranks pp schedule <<END
$layout
END
    train parts $eight --run.ranks=$ranks --parallelism.pipeline_parallel_degree=$pp \
        --parallelism.pipeline_parallel_schedule=$schedule
    expect 0 "$layout, from step $((k - 1))"
    same "$(history parts)" "$want" "resumed at $((k - 1)) on $layout"
    copy_until parts rest $k
    rm -rf "$room/parts"
    mv "$room/rest" "$room/parts"
done

# A step that is not applied; a cell in two micro-batches; lane groups.
two="--run.ranks=4 --parallelism.pipeline_parallel_degree=2"
for more in "--debug.break=nan_at_step_2 --run.nonfinite=skip --training.steps=3" \
    "--numerics.lanes=4 --numerics.cell=2 --training.local_batch_size=1 --training.steps=2" \
    "--numerics.expert_lanes=2 --training.local_batch_size=3 --training.steps=2"; do
    rm -rf "$room/few" "$room/many"
    train few $more
    train many $more $two
    expect 0 "$more over stages"
    same "$(history many)" "$(history few)" "$more over stages"
done

# Routes that another run has written are followed by the stages: its own would be others.
train routes --training.steps=2 --moe.routes_out="$room/routes_of_one"
other="--training.steps=2 --debug.seed=7"
train own $other
train follow $other --moe.routes_in="$room/routes_of_one"
differ "$(history follow)" "$(history own)" "routes of another run"
for mode in none full; do
    rm -rf "$room/many"
    train many $other --moe.routes_in="$room/routes_of_one" $two --activation_checkpoint.mode=$mode
    expect 0 "routes that stages follow, recompute $mode"
    same "$(history many)" "$(history follow)" "routes that stages follow, recompute $mode"
done

# What cannot be leaves nothing behind.
train none --run.ranks=6 --parallelism.pipeline_parallel_degree=6
expect 2 "6 stages of 2 layers"
says '6 stages \(1 a rank\) of model.n_layers = 2' "6 stages of 2 layers"
train none --run.ranks=2 --parallelism.pipeline_parallel_degree=2 --parallelism.pipeline_parallel_layers_per_stage=1
expect 2 "4 stages in 1F1B"
says '4 stages, 2 a rank, but the schedule has one' "4 stages in 1F1B"
[ ! -e "$room/none" ] || fail "a pipeline that was refused left a folder"
finish
