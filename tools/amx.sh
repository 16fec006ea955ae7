#!/bin/sh
# amx.sh [BUILD]: the tier amx on a processor that has it: the tests of products, chains, attention and calls that are built in BUILD,
# of this tier and class alone; 20 steps of both micro models in class amx as tests/data/goldens.txt has them; products and an MoE
# layer of class amx in tier amx, then of class x86 in tier avx512_bf16, on one thread and on all, beside the peak (TDPBF16PS,
# VDPBF16PS). About a minute and a half. Exit 1 if a test fails or a bit differs, 2 if this processor has no tiles.
set -eu
cd "$(dirname "$0")/.."
build=${1:-build} bin=${1:-build}/switchyard bad=0
why=$("$bin" info | sed -n 's/^tiers .* amx (no: \(.*\))$/\1/p')
"$bin" info | sed -n '/^tiers/p; /^peak/,/fp32/p'
[ -z "$why" ] || { echo "amx: not run here: $why"; exit 2; }
room=$(mktemp -d "${TMPDIR:-/tmp}/switchyard.XXXXXX")
trap 'rm -rf "$room"' EXIT
for test in chain products products_dw product_blocks parts attention attention_laws attention_oracle peak tiers calls; do
    program=$build/tests/ops/test_$test
    [ -x "$program" ] || continue
    begin=$(date +%s)
    only=amx
    case $test in peak | tiers) only= ;; esac # compare tiers with each other
    if env ${only:+ONLY_TIER=$only ONLY_CLASS=$only} "$program" >"$room/log" 2>&1; then verdict=ok; else verdict=FAILED bad=1; fi
    echo "amx: test_$test $verdict ($(($(date +%s) - begin)) s)"
    [ $verdict = ok ] || grep -v 'OK\|RUN' "$room/log" | head -n 20
done
for model in micro_mla micro_gqa; do
    "$bin" train configs/$model.toml --numerics.class=amx --run.tier=amx --training.steps=20 --checkpoint.enable=false \
        --run.dir="$room/$model" >"$room/log" 2>&1 || { cat "$room/log"; exit 1; }
    sed -n 's/^{"kind":"train","step":\([0-9]*\),.*"loss_bits":"\([0-9a-f]*\)".*"weights_digest":"\([0-9a-f]*\)".*/\1 \2 \3/p' \
        "$room/$model/metrics.jsonl" >"$room/now"
    sed -n "s/^$model amx //p" tests/data/goldens.txt >"$room/want"
    if [ -s "$room/want" ] && cmp -s "$room/now" "$room/want"; then
        echo "amx: $model: $(wc -l <"$room/now") steps as tests/data/goldens.txt"
    else
        echo "amx: $model DIFFERS" && diff "$room/now" "$room/want" | head -n 4
        bad=1
    fi
done
for threads in 1 0; do
    for what in gemm moe; do
        "$bin" bench $what --class amx --tier amx --threads $threads
        "$bin" bench $what --class x86 --tier avx512_bf16 --threads $threads
    done
done
exit $bad
