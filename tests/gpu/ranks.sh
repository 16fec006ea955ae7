# Ranks of one process, each with a GPU: in every kind of layout the bits of class sm90 that one rank on a CPU wrote, the
# gradients' order included; a checkpoint of two GPUs gone on from on one. GPUS=N (2): so many are needed. DEVICE=cpu or
# guarded runs it without any.
. tests/lib/check.sh
device=${DEVICE:-cuda}
gpus=${GPUS:-2}
if [ "${device#cuda}" != "$device" ] && [ "$("$BIN" info | grep -c '^ *cuda:[0-9]* NVIDIA')" -lt "$gpus" ]; then
    echo "$gpus GPUs are needed"
    exit 77
fi
steps=5
for model in micro_mla micro_gqa; do
    config=configs/$model.toml
    want=$(sed -n "s/^$model sm90 //p" tests/data/goldens.txt | head -n $steps)
    for layout in "" "--parallelism.data_parallel_replicate_degree=$gpus" "--parallelism.expert_parallel_degree=$gpus" \
        "--parallelism.expert_parallel_degree=$gpus --activation_checkpoint.mode=full" \
        "--parallelism.pipeline_parallel_degree=$gpus" \
        "--parallelism.pipeline_parallel_degree=$gpus --parallelism.pipeline_parallel_schedule=1F1B"; do
        # shellcheck disable=SC2086
        train layout --run.device="$device" --numerics.class=sm90 --training.steps=$steps --checkpoint.enable=false \
            --run.ranks="$gpus" $layout
        expect 0 "$model on $gpus of $device, $layout"
        same "$(history layout | while read -r step loss _ weights; do echo "$step $loss $weights"; done)" "$want" \
            "$model on $gpus of $device, $layout"
        rm -rf "${room:?}/layout"
    done
done
alike="--run.device=$device --numerics.class=sm90 --lr_scheduler.warmup_steps=0"
# shellcheck disable=SC2086
for name in both alone; do
    for until in 2 4; do
        ranks=1
        [ $name$until != both2 ] || ranks=$gpus
        train $name $alike --run.ranks="$ranks" --parallelism.expert_parallel_degree="$ranks" --training.steps=$until \
            --checkpoint.interval=2
        expect 0 "$until steps on $ranks of $device"
    done
done
same "$(history both)" "$(history alone)" "a checkpoint of $gpus of $device, gone on from on one"
[ "${device#cuda}" = "$device" ] || {
    run verify configs/micro_gqa.toml --run.device="$device" --numerics.class=sm90 --steps 2 --layouts 8
    expect 0 "verify on $device"
    says "^ +$gpus +[0-9]+ .* same$" "verify on $device: layouts of $gpus ranks"
}
finish
