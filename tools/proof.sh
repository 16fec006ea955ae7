#!/bin/sh
# proof.sh: 3 steps of both micro models in class sm90, by emulation on this CPU, and on the GPU where there is one: the bits that an
# H200 gave (tests/data/h200.txt). BIN=the program; exit 1 if a bit differs.
set -u
cd "$(dirname "$0")/.."
BIN=${BIN:-build/switchyard}
file=tests/data/h200.txt
room=$(mktemp -d "${TMPDIR:-/tmp}/switchyard.XXXXXX")
trap 'rm -rf "$room"' EXIT
devices=cpu
"$BIN" info | grep -q 'run.device=auto)$' && devices="cpu cuda"
sed -n 's/^# //p' $file
bad=0
for device in $devices; do
    while read -r model step loss digest; do
        case $model in '#') continue ;; esac
        begin=$(date +%s)
        "$BIN" train configs/"$model".toml --numerics.class=sm90 --run.device=$device --training.steps="$step" \
            --checkpoint.enable=false --run.dir="$room/$model-$device" >"$room/out" 2>&1 || { cat "$room/out"; exit 1; }
        now=$(sed -n 's/.*"step":'"$step"',.*"loss_bits":"\([0-9a-f]*\)".*"weights_digest":"\([0-9a-f]*\)".*/\1 \2/p' "$room/$model-$device/metrics.jsonl")
        if [ "$now" = "$loss $digest" ]; then
            echo "$model on $device: step $step has the H200's bits, $digest ($(($(date +%s) - begin)) s)"
        else
            echo "$model on $device: step $step gave $now, the H200 $loss $digest"
            bad=1
        fi
    done <$file
done
exit $bad
