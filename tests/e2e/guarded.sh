# Whole trainings on a device whose memory faults when anything but an op touches it (run.device = guarded), with segments
# that start at multiples of 16 rows, as on a GPU: the bits of the CPU. A sanitizer's shadow does not know such memory.
# DEVICE=cuda CLASS=sm90: the same on a GPU (tests/gpu/train.sh).
. tests/lib/check.sh
# shellcheck disable=SC2086 # $steps, $many, $more: several words
[ -z "${QUICK-}" ] || finish
device=${DEVICE:-guarded}
g=--run.device=$device
class=--numerics.class=${CLASS:-x86}
steps="--training.steps=3 $class"
quiet=--checkpoint.enable=false

for config in configs/micro_mla.toml configs/micro_gqa.toml; do
    train cpu $steps "--moe.routes_out=$room/routes_cpu"
    expect 0 "$config: cpu"
    for mode in none full selective; do
        train $mode $g $steps $quiet --activation_checkpoint.mode=$mode --training.local_batch_size=3
        expect 0 "$config: $device, recompute $mode"
        same "$(history $mode)" "$(history cpu)" "$config: $device, recompute $mode"
        rm -rf "${room:?}/$mode"
    done

    # Two ranks, each with a device of its own: weights in shards, and whole.
    for shard in 1 2; do
        [ "$device" != cuda ] || break # ranks compute on CPUs
        train ranks $g $steps $quiet --run.ranks=2 --parallelism.data_parallel_shard_degree=$shard \
            --parallelism.data_parallel_replicate_degree=$((2 / shard))
        expect 0 "$config: $device, 2 ranks, shard $shard"
        same "$(history ranks)" "$(history cpu)" "$config: $device, 2 ranks, shard $shard"
        rm -rf "$room/ranks"
    done

    # Leaves that are cut, lanes side by side, scatter-add, losses, forced balance.
    many="--numerics.lanes=4 --numerics.expert_lanes=2 --numerics.cell=2 --moe.combine=scatter --moe.z_loss_coeff=0.001
        --moe.seq_aux_loss_coeff=0.01 --validation.enable --metrics.moe_counters"
    for forced in false true; do
        for on in cpu $device; do
            train $on-$forced --run.device=$on $steps $quiet $many --debug.moe_force_load_balance=$forced
            expect 0 "$config: many options, forced balance $forced, $on"
        done
        same "$(history $device-$forced)" "$(history cpu-$forced)" "$config: many options, forced balance $forced"
        same "$(grep -c '"kind":"eval"' "$room/$device-$forced/metrics.jsonl")" 1 "$config: held-out loss"
        rm -rf "$room/cpu-$forced" "$room/$device-$forced"
    done

    # One weight at two sites, and all of attention's biases.
    more="--model.tie_word_embeddings --model.attention_bias --model.attention_output_bias"
    for on in cpu $device; do
        train more-$on --run.device=$on $steps $quiet $more --training.local_batch_size=3
        expect 0 "$config: tied, with biases, $on"
    done
    same "$(history more-$device)" "$(history more-cpu)" "$config: tied, with biases"
    differ "$(history more-cpu)" "$(history cpu)" "$config: tied, with biases"
    rm -rf "$room/more-cpu" "$room/more-$device"

    # A step that is refused: its gradient is NaN; the run goes on.
    for on in cpu $device; do
        train nan-$on --run.device=$on $steps $quiet --debug.break=nan_at_step_2 --run.nonfinite=skip
        expect 0 "$config: a NaN step, $on"
        says 'step 2 skipped: ' "$config: a NaN step, $on"
    done
    same "$(history nan-$device)" "$(history nan-cpu)" "$config: a NaN step"

    # Routes written and followed, a checkpoint saved on one device and gone on from on the other, text.
    train whole $g $steps --checkpoint.interval=2 "--moe.routes_out=$room/routes"
    expect 0 "$config: a run with checkpoints"
    cmp -s "$room/routes/step-00000002.safetensors" "$room/routes_cpu/step-00000002.safetensors" || fail "$config: other routes"
    copy_until whole first 2
    train first --run.device=cpu $steps "--moe.routes_out="
    expect 0 "$config: resumed on the CPU"
    same "$(history first)" "$(history cpu)" "$config: saved on $device, gone on with on the CPU"
    copy_until cpu second 3
    train second $g $class --training.steps=4 "--moe.routes_in="
    expect 0 "$config: resumed on $device"
    train cpu $class --training.steps=4 "--moe.routes_out="
    same "$(history second)" "$(history cpu)" "$config: saved on the CPU, gone on with on $device"
    run generate "$room/cpu" --prompt "The" --max-tokens 12 --temperature 0
    grep -av 'tokens/s$' "$room/out" >"$room/text"
    run generate "$room/cpu" --prompt "The" --max-tokens 12 --temperature 0 $g
    same "$(grep -av 'tokens/s$' "$room/out")" "$(cat "$room/text")" "$config: text"
    rm -rf "${room:?}/cpu" "$room/whole" "$room/first" "$room/second" "$room/routes" "$room/routes_cpu" "$room"/nan-*
done
finish
