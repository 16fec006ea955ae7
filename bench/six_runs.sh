#!/bin/sh
# Two steps of dsv3_debug in six layouts, one thing varied at a time around (threads 2, local batch 4, recompute none): threads
# 1|2|3, local batch 1|2|4, recompute none|full. Prints seconds, loss_bits and weights_digest of each; exit 0 if all are equal.
# usage: bench/six_runs.sh [build/switchyard]
set -eu
cd "$(dirname "$0")/.."
bin=${1:-build/switchyard}
dir=$(mktemp -d "${TMPDIR:-/tmp}/six_runs.XXXXXX")
trap 'rm -rf "$dir"' EXIT
printf '%-7s %-5s %-9s %8s  %-16s  %s\n' threads batch recompute seconds loss_bits weights_digest
begin=$(date +%s)
run() {
    t0=$(date +%s)
    "$bin" train configs/dsv3_debug.toml --training.steps=2 --training.seq_len=256 --run.dir="$dir/run" \
        --run.threads="$1" --training.local_batch_size="$2" --activation_checkpoint.mode="$3" >"$dir/log" 2>&1 ||
        { cat "$dir/log"; exit 1; }
    line=$(tail -n 1 "$dir/run/metrics.jsonl")
    loss=$(printf %s "$line" | sed 's/.*"loss_bits":"\([0-9a-f]*\)".*/\1/')
    digest=$(printf %s "$line" | sed 's/.*"weights_digest":"\([0-9a-f]*\)".*/\1/')
    printf '%-7s %-5s %-9s %8s  %s  %s\n' "$1" "$2" "$3" $(($(date +%s) - t0)) "$loss" "$digest"
    echo "$loss $digest" >>"$dir/all"
    rm -rf "$dir/run"
}
run 2 4 none
run 1 4 none
run 3 4 none
run 2 1 none
run 2 2 none
run 2 4 full
different=$(sort -u "$dir/all" | wc -l)
echo "$different different results in 6 runs, $(($(date +%s) - begin)) s in all"
[ "$different" -eq 1 ]
