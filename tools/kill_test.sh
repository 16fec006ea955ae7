#!/bin/sh
# Sudden death: N times a short run that saves every second step is killed with -9 at a random moment, and started again until
# it is done. Counts how many ended with the digest, the metrics and the checkpoints of the run that nobody killed.
#   usage: tools/kill_test.sh N [SEED [CONFIG]]         SWITCHYARD=build/switchyard, KILLS=1 (kills of each run), STEPS=24
set -eu
if [ $# -lt 1 ]; then
    echo "usage: $0 N [SEED [CONFIG]]" >&2
    exit 2
fi
n=$1 seed=${2:-1} config=${3:-configs/micro_gqa.toml} program=${SWITCHYARD:-build/switchyard} kills=${KILLS:-1} steps=${STEPS:-24}
room=$(mktemp -d "${TMPDIR:-/tmp}/kill_test.XXXXXX")
pid=
trap 'rm -rf "$room"' EXIT
trap '[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null; exit 130' INT TERM HUP

train() { # RUN
    exec "$program" train "$config" --run.dir="$room/$1" --training.steps="$steps" --checkpoint.interval=2 \
        --checkpoint.keep_latest_k=3 --run.threads=2
}
# What a run leaves behind, without times: its metrics and the bytes of its checkpoints.
result() { # RUN
    sed -n 's/.*"step":\([0-9]*\),.*"loss_bits":"\([0-9a-f]*\)".*"weights_digest":"\([0-9a-f]*\)".*/\1 \2 \3/p' "$room/$1/metrics.jsonl"
    (cd "$room/$1/checkpoints" && find . -type f ! -path './.tmp-*' | LC_ALL=C sort | xargs sha256sum)
    # a folder that was being written or removed is cleared by the next save; a run that was done has none
    grep -q 'is done already' "$room/out" || find "$room/$1/checkpoints" -name '.tmp-*' -prune | sed "s:$room/$1/::"
}

now_ms() { echo $(($(date +%s%N) / 1000000)); }
begin=$(now_ms)
(train whole) >"$room/out" 2>&1 || { cat "$room/out"; exit 1; }
length=$(($(now_ms) - begin))
result whole >"$room/want"
digest=$(sed -n "s/^digest of step $steps: //p" "$room/out")
echo "$program: $steps steps in $length ms, digest $digest; $n runs, $kills kills each, seed $seed"

# Moments from 0 to the length of a whole run.
awk -v n="$((n * kills))" -v ms="$length" -v seed="$seed" 'BEGIN { srand(seed); for (i = 0; i < n; i++) printf "%.4f\n", rand() * ms / 1000 }' \
    >"$room/moments"
exec 3<"$room/moments"
good=0 hit=0 i=0
while [ $i -lt "$n" ]; do
    i=$((i + 1))
    rm -rf "$room/run"
    k=0
    while [ $k -lt "$kills" ]; do
        k=$((k + 1))
        read -r moment <&3
        (train run) >"$room/out" 2>&1 &
        pid=$!
        sleep "$moment"
        kill -9 $pid 2>/dev/null || true
        code=0
        wait $pid 2>/dev/null || code=$?
        [ $code -ne 137 ] || hit=$((hit + 1))
    done
    code=0
    (train run) >"$room/out" 2>&1 || code=$?
    if [ $code -eq 0 ] && result run >"$room/have" && cmp -s "$room/have" "$room/want"; then
        good=$((good + 1))
    else
        echo "run $i, killed after $moment s: exit $code: $(tail -n 1 "$room/out")"
        diff "$room/want" "$room/have" | head -n 5 || true
    fi
done
echo "$good of $n ended with the bits of the undisturbed run; $hit of $((n * kills)) kills came before the end"
[ $good -eq "$n" ]
