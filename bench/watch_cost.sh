#!/bin/sh
# What it costs a step to be watched: trainings in turn, PAIRS rounds of all variants, the order turning with each round; of
# each round's medians of step_ms (metrics.jsonl, without the first ten steps) the ratio to the first variant's, and of
# those the median. OLD, if given: another program, the same as the first variant, for what an option costs that is off.
# usage: bench/watch_cost.sh [OLD] [-- what train takes: CONFIG --section.key=value]     PAIRS=7 STEPS=60 ONLY="report ..."
#        BIN=build/switchyard
set -eu
old= new=${BIN:-build/switchyard}
if [ $# -gt 0 ] && [ "$1" != -- ]; then
    old=$1
    shift
fi
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- configs/micro_gqa.toml
pairs=${PAIRS:-7} steps=${STEPS:-60}
dir=$(mktemp -d "${TMPDIR:-/tmp}/watch.XXXXXX")
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM HUP
off="--metrics.enable_report=false --checkpoint.enable=false"
cat >"$dir/variants" <<END
off|$new|$off
${old:+old|$old|$off}
report|$new|--checkpoint.enable=false
tensorboard|$new|$off --metrics.enable_tensorboard
prometheus|$new|$off --metrics.prometheus_port=$((20000 + $$ % 20000))
snapshot|$new|$off --profiling.enable_memory_snapshot
trace_every_10|$new|$off --profiling.enable_profiling
trace_each_step|$new|$off --profiling.enable_profiling --profiling.profile_freq=1 --profiling.profiler_warmup=0
END
grep . "$dir/variants" | awk -F'|' -v only="${ONLY-}" '$1 == "off" || $1 == "old" || !only || index(" " only " ", " " $1 " ")' >"$dir/list"
n=$(wc -l <"$dir/list")
median() { sort -n | awk '{ a[NR] = $1 } END { print NR % 2 ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2 }'; }
round=0
while [ "$round" -lt "$pairs" ]; do
    i=0
    while [ "$i" -lt "$n" ]; do
        line=$(sed -n "$(((i + round) % n + 1))p" "$dir/list")
        name=${line%%|*} rest=${line#*|}
        # shellcheck disable=SC2086
        "${rest%%|*}" train "$@" --run.dir="$dir/run" --run.fresh --training.steps="$steps" ${rest#*|} >/dev/null 2>"$dir/err" || { cat "$dir/err" >&2; exit 1; }
        ms=$(sed -n 's/^{"kind":"train","step":\([0-9]*\),.*"step_ms":\([0-9.]*\),.*/\1 \2/p' "$dir/run/metrics.jsonl" | awk '$1 > 10 { print $2 }' | median)
        echo "$round $name $ms" >>"$dir/all"
        rm -rf "$dir/run"
        i=$((i + 1))
    done
    round=$((round + 1))
done
echo "$*: $pairs rounds of $steps steps; medians: ms a step, and of the rounds' ratios to off"
while IFS='|' read -r name _; do
    ms=$(awk -v n="$name" '$2 == n { print $3 }' "$dir/all" | median)
    ratio=$(awk -v n="$name" '$2 == "off" { off[$1] = $3 } $2 == n { own[$1] = $3 } END { for (r in own) print own[r] / off[r] }' "$dir/all" | median)
    awk -v n="$name" -v ms="$ms" -v r="$ratio" 'BEGIN { printf "%-16s %9.3f ms %+7.2f %%\n", n, ms, 100 * (r - 1) }'
done <"$dir/list"
