# SIGINT and SIGTERM: a checkpoint is saved, the command that goes on is printed, and that command, run exactly so, ends with
# the bits of a run that nobody stopped. A second signal quits at once.
. tests/lib/check.sh

mkdir "$room/bin"
ln -s "$(cd "$(dirname "$BIN")" && pwd)/${BIN##*/}" "$room/bin/switchyard"
PATH=$room/bin:$PATH
options="--training.steps=60 --lr_scheduler.warmup_steps=5 --activation_checkpoint.mode=full"
train whole $options
expect 0 "60 steps"
want=$(history whole)

# stop SIGNAL RUN: sends it when three steps are done.
stop() {
    switchyard train $config --run.dir="$2" $options --run.threads=2 "--job.description=Tom's \$HOME, a run" >"$room/out" 2>&1 &
    pid=$!
    wait_for "$2/metrics.jsonl" '"step":3,'
    kill -"$1" $pid
    code=0
    wait $pid || code=$?
}
for signal in INT TERM; do
    dir="$room/a run $signal"
    stop $signal "$dir"
    if [ $signal = INT ]; then expect 130 INT; else expect 143 TERM; fi
    says "^stopped after step [0-9]*$" "$signal"
    says "saved .*checkpoints/step-" "$signal"
    again=$(sed -n 's/^to go on: //p' "$room/out")
    [ -n "$again" ] || fail "$signal: no command that goes on"
    done_steps=$(sed -n 's/^stopped after step //p' "$room/out")
    [ "${done_steps:-60}" -lt 60 ] || fail "$signal: not stopped before the end"
    sh -c "$again" >"$room/out" 2>&1 || fail "the command that goes on fails: $again: $(tail -n 2 "$room/out")"
    same "$(history "a run $signal")" "$want" "$signal, then the command that goes on"
    says "at step $done_steps\$" "$signal, resumed"
    ls -d "$dir"/checkpoints/.tmp-* 2>/dev/null && fail "$signal: leftovers"
done

# Two signals: the second does not wait for the step, here one of seconds.
config=configs/dsv3_debug.toml
if [ -z "${QUICK-}" ]; then
    switchyard train $config --run.dir="$room/long" --training.steps=2 >"$room/out" 2>&1 &
    pid=$!
    wait_for "$room/out" 'documents to train on'
    begin=$(date +%s)
    for i in 1 2 3 4 5; do # two that come before the program runs again are one
        kill -INT $pid 2>/dev/null || break
        sleep 0.2
    done
    code=0
    wait $pid || code=$?
    expect 130 "two signals"
    [ $(($(date +%s) - begin)) -le 3 ] || fail "two signals: took $(($(date +%s) - begin)) s"
    [ ! -e "$room/long/checkpoints/step-00000001" ] || fail "two signals: waited for the step"
fi
finish
