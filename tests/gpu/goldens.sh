# goldens.sh [write]: two steps of the debug models in class sm90, whose heads of 64 and 192/128 and sizes take a GPU's
# fast kernels: the bits in tests/data/goldens_sm90.txt, which `make goldens-sm90` writes on a CPU. DEVICE: cuda.
. tests/lib/check.sh
device=${DEVICE:-cuda}
file=tests/data/goldens_sm90.txt
small="--training.global_batch_size=2 --training.local_batch_size=2 --training.seq_len=256 --numerics.lanes=2 --training.steps=2"
{
    echo "# model step loss_bits weights_digest: written by \`make goldens-sm90\` on a CPU, never from a GPU"
    for model in gqa_debug dsv3_debug; do
        config=configs/$model.toml
        # shellcheck disable=SC2086
        train $model --run.device="$device" --numerics.class=sm90 --checkpoint.enable=false \
            --training.dataset_path=tests/data/prose.jsonl $small
        expect 0 "$model on $device" >&2
        history $model | while read -r step loss _ weights; do echo "$model $step $loss $weights"; done
    done
} >"$room/now"
same "$(grep -c debug "$room/now")" 4 "lines"
if [ "${1-}" = write ]; then
    [ $bad -eq 0 ] && cp "$room/now" $file
    finish
fi
same "$(cat "$room/now")" "$(cat $file)" "the debug models on $device"
finish
