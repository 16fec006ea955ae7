# Experts over ranks that are threads: the same bits and the same bytes of a checkpoint from any number of them and any
# expert-parallel degree, lane groups whole and in parts, every path; buffers that grow; counters; what is refused.
. tests/lib/check.sh

ep=--parallelism.expert_parallel_degree
back=--parallelism.expert_parallel_comm_backend
held="--validation.enable --data.holdout=0.1 --validation.freq=2"
# many WHAT option...: a run that must have the metrics in $want.
many() {
    what=$1
    shift
    rm -rf "$room/many"
    train many "$@"
    expect 0 "$what"
    same "$(history many)" "$want" "$what"
}
# counter NAME: of the last run.
counter() { sed -n "s/^$1  *\([0-9]*\) .*/\1/p" "$room/out"; }

# F = 1 admits every EP: also ones that do not divide the 8 experts.
for config in configs/micro_mla.toml configs/micro_gqa.toml; do
    keep="--training.steps=3 --checkpoint.keep_latest_k=0 $held"
    rm -rf "${room:?}"/one
    train one $keep
    expect 0 "$config"
    want=$(history one)
    same "$(echo "$want" | wc -l)" 3 "$config: lines of metrics"
    n=0
    for layout in "2 2" "3 3" "4 2" "4 4" "6 2" "6 3" "6 6" "8 2" "8 4" "8 8"; do
        n=$((n + 1))
        [ -n "${QUICK-}" ] && [ $((n % 4)) -ne 1 ] && continue
        ranks=${layout% *} degree=${layout#* }
        mode=$(echo none full selective | cut -d' ' -f$((n % 3 + 1)))
        path=$(echo standard direct | cut -d' ' -f$((n % 2 + 1)))
        many "$config, $ranks ranks, EP $degree, recompute $mode, $path" $keep --run.ranks=$ranks $ep=$degree \
            --activation_checkpoint.mode=$mode $back=$path --training.local_batch_size=$((n % 3 + 1))
        says "Applied Expert Parallel with $path comm backend" "$config, $path"
        same "$(grep '"kind":"eval"' "$room/many/metrics.jsonl")" "$(grep '"kind":"eval"' "$room/one/metrics.jsonl")" \
            "$config, $ranks ranks, EP $degree: held-out loss"
        diff -r "$(checkpoint one 3)" "$(checkpoint many 3)" || fail "$config, $ranks ranks, EP $degree: checkpoint"
    done
done

# A run goes on with other degrees.
config=configs/micro_mla.toml
keep="--training.steps=3 --checkpoint.interval=1 --checkpoint.keep_latest_k=0"
rm -rf "$room/one"
train one $keep
want=$(history one)
k=0 # the run dies after step k
for layout in "4 4 standard" "6 3 direct" "2 1 standard"; do
    k=$((k + 1))
    set -- $layout
    train parts $keep --run.ranks="$1" $ep="$2" $back="$3"
    expect 0 "$layout, from step $((k - 1))"
    same "$(history parts)" "$want" "resumed at $((k - 1)): $layout"
    copy_until parts rest $k
    rm -rf "$room/parts"
    mv "$room/rest" "$room/parts"
done

# F = P admits EP = DP alone: each rank has a part of the one lane group.
parts="--training.steps=2 --numerics.expert_lanes=8 --checkpoint.enable=false"
train group $parts
want=$(history group)
for ranks in 2 3 8; do
    many "a lane group on $ranks ranks" $parts --run.ranks=$ranks $ep=$ranks --training.local_batch_size=$((ranks + 2))
    says 'each brings whole rounds to a call' "a lane group on $ranks ranks"
done
many "a lane group on 3 ranks, direct, selective" $parts --run.ranks=3 $ep=3 $back=direct \
    --activation_checkpoint.mode=selective
# Two lane groups of three on four ranks (2, 1, 2, 1 lanes), and on three (2, 1 lanes and a whole one).
threes="--training.steps=2 --training.global_batch_size=24 --numerics.lanes=6 --numerics.expert_lanes=3
    --numerics.cell=2 --checkpoint.enable=false"
train threes $threes
want=$(history threes)
for ranks in 2 3 4; do
    many "groups of three on $ranks ranks" $threes --run.ranks=$ranks $ep=$ranks --training.local_batch_size=5
    many "groups of three on $ranks ranks, direct" $threes --run.ranks=$ranks $ep=$ranks $back=direct
done
many "groups of three, 4 ranks in two groups" $threes --run.ranks=4 $ep=2

# More ranks than experts: some own none.
three="--training.steps=2 --moe.num_experts=3 --moe.num_expert_groups=0 --moe.num_limited_groups=0 --checkpoint.enable=false"
train three $three
want=$(history three)
many "3 experts over 4 ranks" $three --run.ranks=4 $ep=4
many "3 experts over 8 ranks, direct" $three --run.ranks=8 $ep=8 $back=direct
many "3 experts over two groups of 4 ranks, weights whole" $three --run.ranks=8 $ep=4 \
    --parallelism.data_parallel_shard_degree=1 --parallelism.data_parallel_replicate_degree=8
# Memory that only ops can touch, segments at multiples of 16.
many "guarded" $three --run.ranks=2 $ep=2 --run.device=guarded
many "guarded, direct" $three --run.ranks=2 $ep=2 --run.device=guarded $back=direct

# Stages, too: several micro-batches are in flight.
stages="--training.steps=2 --model.n_layers=4 --model.n_dense_layers=1 --checkpoint.enable=false"
pp="--parallelism.pipeline_parallel_degree=2"
train stages $stages
want=$(history stages)
many "2 stages, EP 2, interleaved, direct" $stages $pp --run.ranks=4 $ep=2 $back=direct \
    --parallelism.pipeline_parallel_schedule=Interleaved1F1B --training.local_batch_size=1
many "2 stages, EP 2, zero bubble" $stages $pp --run.ranks=4 $ep=2 \
    --parallelism.pipeline_parallel_schedule=InterleavedZeroBubble --training.local_batch_size=1
many "2 stages, EP 4, no room" $stages $pp --run.ranks=8 $ep=4 --parallelism.expert_parallel_room=0.1 \
    --parallelism.pipeline_parallel_schedule=1F1B
rm -rf "$room/stages"
train stages $stages --numerics.expert_lanes=8
want=$(history stages)
many "2 stages, EP 4, parts of a lane group" $stages --numerics.expert_lanes=8 $pp --run.ranks=8 $ep=4 \
    --training.local_batch_size=1

# Paths, what they exchange and wait for; buffers that grow.
plain="--training.steps=2 --checkpoint.enable=false --metrics.moe_counters"
four="--run.ranks=4 $ep=4"
rm -rf "$room/one"
train one $plain
want=$(history one)
many standard $plain $four --parallelism.expert_parallel_room=8
same "$(counter path_standard) $(counter counts_exchanged) $(counter buffer_regrown)" "2 2 0" "standard"
many padded $plain $four --moe.equal_split=pad
same "$(counter path_equal_padded)" 2 "padded"
many direct $plain $four $back=direct --parallelism.expert_parallel_room=8
same "$(counter path_direct) $(counter counts_exchanged) $(counter host_waits) $(counter buffer_regrown)" "2 0 0 0" \
    "direct"
many "recompute" $plain $four --activation_checkpoint.mode=full --parallelism.expert_parallel_room=8
same "$(counter path_standard) $(counter a2a_in_backward)" "4 4" "full recompute: backward's own, and forward's again"
many "selective" $plain $four --activation_checkpoint.mode=selective --parallelism.expert_parallel_room=8
same "$(counter path_standard) $(counter a2a_in_backward)" "2 0" "selective recompute: backward's own alone"
for how in "$back=standard" "$back=direct" "--moe.equal_split=pad"; do
    many "no room, $how" $plain $four $how --parallelism.expert_parallel_room=0.1
    same "$(counter buffer_regrown)" 1 "no room, $how: steps run again"
done
many "no room on 8 ranks in two groups" $plain --run.ranks=8 $ep=4 --parallelism.expert_parallel_room=0.1
# Held-out loss, too, when there is no room for its rows.
rm -rf "$room/one"
train one $plain $held
want=$(history one)
many "no room for held-out rows" $plain $held $four --parallelism.expert_parallel_room=0.1 --training.steps=2
same "$(grep '"kind":"eval"' "$room/many/metrics.jsonl")" "$(grep '"kind":"eval"' "$room/one/metrics.jsonl")" \
    "held-out loss without room"
rm -rf "$room/one"
train one $plain --debug.moe_force_load_balance
want=$(history one)
many forced $plain $four --debug.moe_force_load_balance --parallelism.expert_parallel_room=1
same "$(counter path_forced) $(counter counts_exchanged) $(counter host_waits) $(counter buffer_regrown)" "2 0 0 0" \
    "forced balance"

# What cannot be.
rm -rf "$room/bad"
train bad --run.ranks=4 $ep=3
expect 2 "EP 3 of 4"
says 'expert_parallel_degree = 3.*does not divide the 4 data-parallel ranks' "EP 3 of 4"
train bad --run.ranks=4 $ep=2 --numerics.expert_lanes=8
expect 2 "a lane group in two EP groups"
says 'a lane group would lie in two of the 2 expert-parallel groups' "a lane group in two EP groups"
[ ! -e "$room/bad" ] || fail "a mesh that was refused left a folder"
finish
