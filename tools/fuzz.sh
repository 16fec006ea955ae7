#!/bin/sh
# Runs each fuzz target for some seconds on all processors, from the committed corpus and what earlier runs kept. The first
# finding stops with exit 1; its input and log stay in BUILD.      usage: tools/fuzz.sh BUILD SECONDS TARGET...
set -eu
build=$1 seconds=$2
shift 2
for target in "$@"; do
    mkdir -p "$build/corpus/$target"
    log=$build/$target.log
    if ! "$build/tests/fuzz/fuzz_$target" -max_total_time="$seconds" -fork="$(nproc)" -rss_limit_mb=4096 \
        -artifact_prefix="$build/finding-$target-" "$build/corpus/$target" "tests/fuzz/corpus/$target" >"$log" 2>&1; then
        tail -n 40 "$log"
        echo "$target: a finding; log $log, input $build/finding-$target-*" >&2
        exit 1
    fi
    echo "$target: $(grep '^#' "$log" | tail -n 1 | sed 's/^#\([0-9]*\): cov: \([0-9]*\).*/\1 inputs, \2 edges/'), no finding in $seconds s"
done
