# A step with a NaN in its gradient is not applied: the run stops with the checkpoint of the step before, or skips it; either
# way the weights keep their bits, whatever the layout.
. tests/lib/check.sh

keep="--training.steps=6 --checkpoint.keep_latest_k=0"
nan=--debug.break=nan_at_step_3
# line RUN STEP: its line of metrics.
line() {
    grep "^{\"kind\":\"train\",\"step\":$2," "$room/$1/metrics.jsonl"
}
# digest_at RUN STEP
digest_at() {
    line "$1" "$2" | sed -n 's/.*"weights_digest":"\([0-9a-f]\{32\}\)".*/\1/p'
}
# skipped RUN WHAT: step 3 of it is marked as not applied, its neighbours as applied, and the weights stood still.
skipped() {
    line "$1" 3 >"$room/out"
    says '"skipped":1[,}]' "$2: metrics of step 3"
    says '"grad_norm":null[,}]' "$2: metrics of step 3"
    same "$(digest_at "$1" 3)" "$(digest_at whole 2)" "$2: digest of step 3"
    line "$1" 2 >"$room/out"
    says '"skipped":0[,}]' "$2: metrics of step 2"
}
# kept RUN WHAT: its checkpoint of step 2 has the bytes of the undisturbed run's; the manifests differ in the options alone.
kept() {
    diff -rq -x switchyard.json "$(checkpoint whole 2)" "$(checkpoint "$1" 2)" || fail "$2: checkpoint of step 2"
    for r in whole "$1"; do
        grep -v '^  "\(config\|hash\)": ' "$(checkpoint $r 2)/switchyard.json" >"$room/manifest_$r"
    done
    cmp "$room/manifest_whole" "$room/manifest_$1" || fail "$2: manifest of step 2"
    grep -q '"hash": ' "$room/manifest_$1" || fail "$2: the manifest names no file's hash"
}

train whole $keep --checkpoint.interval=1
expect 0 "undisturbed"
want=$(history whole)
same "$(echo "$want" | wc -l)" 6 "undisturbed: lines of metrics"
differ "$(digest_at whole 3)" "$(digest_at whole 2)" "undisturbed: step 3 is applied"

# Stop, with the checkpoint of step 2 there already and with one that is saved because of the stop.
for interval in 1 100; do
    train stop $keep --checkpoint.interval=$interval $nan
    expect 4 "stop, interval $interval"
    says "^switchyard: step 3 was not applied: .*the weights of step 2 are kept" "stop, interval $interval"
    skipped stop "stop, interval $interval"
    same "$(history stop | head -n 2)" "$(echo "$want" | head -n 2)" "stop, interval $interval: steps 1 and 2"
    same "$(grep -c '"kind":"train"' "$room/stop/metrics.jsonl")" 3 "stop, interval $interval: nothing after step 3"
    [ ! -e "$(checkpoint stop 3)" ] || fail "stop, interval $interval: step 3 was saved"
    kept stop "stop, interval $interval"
    run inspect "$(checkpoint stop 2)"
    expect 0 "stop, interval $interval: inspect"
    train stop $keep --checkpoint.interval=1 --debug.break=
    expect 0 "resumed without the NaN, interval $interval"
    says "resumed from .*step-00000002 at step 2" "resumed without the NaN, interval $interval"
    same "$(digest)" "$(digest_at whole 6)" "resumed without the NaN, interval $interval: digest"
    same "$(history stop)" "$want" "resumed without the NaN, interval $interval: metrics"
    rm -rf "$room/stop"
done

# Skip, in several layouts.
first=
while read -r threads batch; do
    what="skip, $threads threads, batch $batch"
    rm -rf "$room/skip"
    run train $config --run.dir="$room/skip" $keep $nan --run.nonfinite=skip --run.threads="$threads" \
        --training.local_batch_size="$batch" </dev/null
    expect 0 "$what"
    says "^warning: step 3 skipped: " "$what"
    end=$(digest)
    skipped skip "$what"
    same "$(history skip | head -n 2)" "$(echo "$want" | head -n 2)" "$what: steps 1 and 2"
    same "$(history skip | wc -l)" 6 "$what: lines of metrics"
    differ "$(digest_at skip 4)" "$(digest_at skip 3)" "$what: step 4 is applied"
    differ "$end" "$(digest_at whole 6)" "$what: a skipped step leaves its mark"
    [ -n "$first" ] || first=$(history skip)
    same "$(history skip)" "$first" "$what: history"
done <<'END'
1 1
1 4
2 1
2 4
END

# A limit of one skipped step in a row is a stop; of two it is not.
train limit $keep $nan --run.nonfinite=skip --run.nonfinite_limit=1
expect 4 "nonfinite_limit 1"
says "step 3 was not applied.*in a row.*run.nonfinite_limit" "nonfinite_limit 1"
kept limit "nonfinite_limit 1"
train limit_2 $keep $nan --run.nonfinite=skip --run.nonfinite_limit=2 --checkpoint.enable=false
expect 0 "nonfinite_limit 2"

for name in no_such_bug nan_at_step_ nan_at_step_0 nan_at_step_x; do
    train refused $keep --debug.break=$name
    expect 2 "debug.break=$name"
    for plant in nan_at_step_N flip_at_step_N gpu_lost_at_step_N "verify --break list"; do
        says "debug.break = \"$name\": .*$plant" "debug.break=$name"
    done
done
train refused $keep --debug.break=gpu_lost_at_step_2 --run.device=cpu
expect 2 "gpu_lost_at_step_2 on a CPU"
says 'debug.break = "gpu_lost_at_step_2": needs run.device = "cuda"' "gpu_lost_at_step_2 on a CPU"
finish
