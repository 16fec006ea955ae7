#!/bin/sh
# tiers.sh [SWITCHYARD]: 20 steps of dsv3_debug and gqa_debug, 8 sequences of 256 tokens, in every tier of this machine but ref: one
# line of step, loss and digest each, all as tests/data/goldens_debug.txt has them. Tier ref, which calls fmaf, does one step of 8
# sequences of 16, beside the fastest tier. Exit 1 if a bit differs. TIERS="..." only these; THREADS=2.
set -eu
cd "$(dirname "$0")/.."
bin=${1:-build/switchyard} threads=${THREADS:-2} file=tests/data/goldens_debug.txt
tiers=${TIERS:-$("$bin" info | sed -n 's/ [a-z0-9_]* (no: [^()]*\(([^()]*)\)*)//g; s/^tiers *//p')}
room=$(mktemp -d "${TMPDIR:-/tmp}/switchyard.XXXXXX")
trap 'rm -rf "$room"' EXIT
bits() { # MODEL TIER STEPS SEQ_LEN
    "$bin" train configs/"$1".toml --run.tier="$2" --training.steps="$3" --training.seq_len="$4" --run.threads="$threads" \
        --checkpoint.enable=false --run.dir="$room/run" >"$room/log" 2>&1 || { cat "$room/log"; exit 1; }
    sed -n 's/^{"kind":"train","step":\('"$3"'\),.*"loss_bits":"\([0-9a-f]*\)".*"weights_digest":"\([0-9a-f]*\)".*/\1 \2 \3/p' \
        "$room/run/metrics.jsonl"
    rm -rf "$room/run"
}
bad=0
for model in dsv3_debug gqa_debug; do
    for tier in $tiers; do
        begin=$(date +%s)
        if [ "$tier" = ref ]; then
            want=$(bits $model auto 1 16) is=$(bits $model ref 1 16) what="8 x 16 tokens, as tier auto"
        else
            want=$(sed -n "s/^$model //p" $file) is=$(bits $model "$tier" 20 256) what="8 x 256 tokens, as $file"
        fi
        verdict=equal
        [ -n "$is" ] && [ "$is" = "$want" ] || verdict="DIFFERS: $want" bad=1
        echo "$model $tier: step, loss, weights $is; $what: $verdict ($(($(date +%s) - begin)) s)"
    done
done
exit $bad
