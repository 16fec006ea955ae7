# Whole trainings on a GPU: the bits that class sm90 has in tests/data/goldens.txt, which a CPU wrote, whatever is
# recomputed; then all of tests/e2e/guarded.sh with the GPU in the place of the guarded device: many options, a NaN step,
# a checkpoint saved on one device and gone on from on the other, text. DEVICE=cpu runs it without a GPU.
. tests/lib/check.sh
device=${DEVICE:-cuda}
steps=${STEPS:-5}
for model in micro_mla micro_gqa; do
    config=configs/$model.toml
    want=$(sed -n "s/^$model sm90 //p" tests/data/goldens.txt | head -n "$steps")
    for mode in none full selective; do
        train $mode --run.device="$device" --numerics.class=sm90 --training.steps="$steps" --checkpoint.enable=false \
            --activation_checkpoint.mode=$mode
        expect 0 "$model on $device, recompute $mode"
        same "$(history $mode | while read -r step loss _ weights; do echo "$step $loss $weights"; done)" "$want" \
            "$model on $device, recompute $mode"
        rm -rf "${room:?}/$mode"
    done
done
if [ "$device" != cpu ]; then
    for test in graph lost; do
        sh tests/gpu/$test.sh || fail "tests/gpu/$test.sh"
    done
fi
[ $bad -eq 0 ] || finish
DEVICE=$device sh tests/gpu/goldens.sh || fail "tests/gpu/goldens.sh on $device"
CLASS=sm90 DEVICE=$device sh tests/e2e/guarded.sh || fail "tests/e2e/guarded.sh on $device"
finish
