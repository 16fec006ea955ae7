# Signals: a checkpoint is saved, the command that goes on is printed, and that command, run exactly so, ends with the bits of
# a run that nobody stopped. What is said and when, who goes on, who is ignored, and that a second INT or TERM quits at once.
. tests/lib/check.sh

mkdir "$room/bin"
ln -s "$(cd "$(dirname "$BIN")" && pwd)/${BIN##*/}" "$room/bin/switchyard"
PATH=$room/bin:$PATH
options="--training.steps=60 --lr_scheduler.warmup_steps=5 --activation_checkpoint.mode=full"
train whole $options
expect 0 "60 steps"
want=$(history whole)

# begin RUN [option...]: in the background, with the signals as a terminal would give them (sh ignores INT there).
begin() {
    dir=$1
    shift
    : >"$room/out"
    env --default-signal=INT,TERM,HUP,USR1,USR2,XCPU switchyard train $config --run.dir="$dir" $options \
        --run.threads=2 "$@" >"$room/out" 2>&1 &
    pid=$!
}
# end: waits for it.
end() {
    code=0
    wait $pid || code=$?
}
number() { # of a signal
    case $1 in HUP) echo 1 ;; INT) echo 2 ;; USR1) echo 10 ;; USR2) echo 12 ;; TERM) echo 15 ;; XCPU) echo 24 ;; esac
}
for signal in INT TERM HUP USR1 USR2 XCPU; do
    dir="$room/a run $signal"
    begin "$dir" "--job.description=Tom's \$HOME, a run"
    wait_for "$dir/metrics.jsonl" '"step":3,'
    kill -$signal $pid
    end
    expect $((128 + $(number $signal))) "$signal"
    says "^stopped after step [0-9]*$" "$signal"
    says "^saving after this step" "$signal"
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

# Ignored from the start: they stay so, and the run ends as if they had not come.
for signal in HUP INT USR1; do
    (trap '' $signal && exec switchyard train $config --run.dir="$room/ignored $signal" $options --run.threads=2) >"$room/out" 2>&1 &
    pid=$!
    wait_for "$room/ignored $signal/metrics.jsonl" '"step":3,'
    kill -$signal $pid
    end
    expect 0 "$signal, ignored from the start"
    same "$(history "ignored $signal")" "$want" "$signal, ignored from the start"
done
(trap '' HUP && exec switchyard train $config --run.dir="$room/warned" --training.steps=1 --run.save_signal=hup) >"$room/out" 2>&1
says '^warning: run.save_signal = hup: .*ignored' "a signal to save on that is ignored"

# run.save_signal saves and goes on; the others still stop.
begin "$room/go on" --run.save_signal=usr1 --checkpoint.keep_latest_k=0
wait_for "$room/go on/metrics.jsonl" '"step":3,'
kill -USR1 $pid
wait_for "$room/out" 'saved .*checkpoints/step-'
kill -USR2 $pid
end
expect 140 "save_signal, then another"
says '^saving after this step, then going on' "save_signal"
same "$(ls "$room/go on/checkpoints" | wc -l)" 2 "save_signal: its checkpoint, and the other's"
begin "$room/go on" --run.save_signal=hup --checkpoint.keep_latest_k=0
wait_for "$room/out" 'resumed from'
kill -HUP $pid
end
expect 0 "save_signal in a resumed run"
same "$(history "go on")" "$want" "save_signal: history"
train refused --run.save_signal=term
expect 2 "a signal that cannot save and go on"

# By the minute: 0.0001 of one are 6 ms, fewer than most steps of this take.
train minutes $options --checkpoint.interval_minutes=0.0001 --checkpoint.keep_latest_k=0 --checkpoint.interval=1000
expect 0 "interval_minutes"
[ "$(ls "$room/minutes/checkpoints" | wc -l)" -gt 5 ] || fail "interval_minutes: $(ls "$room/minutes/checkpoints")"
same "$(history minutes)" "$want" "interval_minutes: history"
train hours $options --checkpoint.interval_minutes=100 --checkpoint.keep_latest_k=0 --checkpoint.interval=50
same "$(ls "$room/hours/checkpoints" | tr '\n' ' ')" "step-00000050 step-00000060 " "interval_minutes that do not pass"

# A file that may not grow further is an error that is named, not a death; what was saved before is there.
(ulimit -f 100 && exec switchyard train $config --run.dir="$room/limit" $options --run.threads=2 --checkpoint.interval=5) >"$room/out" 2>&1
code=$?
expect 1 "a limit of the files' size"
says "^switchyard: .*$room/limit.*: File too large" "a limit of the files' size"
train limit $options
same "$(history limit)" "$want" "after a limit of the files' size"

# generate: the signal's code, too. The likeliest token is never the end here.
switchyard generate "$room/whole" --prompt x --max-tokens 100000 --temperature 0 >"$room/text" 2>"$room/out" &
pid=$!
wait_for "$room/text" x
kill -TERM $pid
end
expect 143 "generate"
says '^stopping after this token; again: quit now' "generate"

# A step of seconds. What a signal does is said at once, with what a step takes.
options="--training.steps=2 --training.global_batch_size=16384"
if [ -z "${QUICK-}" ]; then
    begin "$room/long"
    wait_for "$room/out" '^step .*loss'
    start=$(date +%s)
    kill -INT $pid
    sleep 0.3
    says '^saving after this step; again: quit now( \(a step takes about [0-9.]+ s\))?$' "INT: said before the step ends"
    [ ! -e "$room/long/checkpoints" ] || fail "INT: the step is too short for this test"
    for i in 1 2 3 4; do # two that come before the program runs again are one
        kill -INT $pid 2>/dev/null || break
        sleep 0.2
    done
    end
    expect 130 "two signals"
    [ $(($(date +%s) - start)) -le 5 ] || fail "two signals: took $(($(date +%s) - start)) s"
    [ ! -e "$room/long/checkpoints/step-00000001" ] || fail "two signals: waited for the step"

    # Those that a batch system or the kernel sends again and again never quit at once; the first one's number counts.
    begin "$room/batch" --debug.seed=7
    wait_for "$room/out" '^step .*loss'
    kill -USR1 $pid
    for i in 1 2 3; do
        sleep 0.1
        kill -XCPU $pid
        kill -HUP $pid
    done
    kill -TERM $pid
    end
    expect 138 "USR1, then others"
    same "$(grep -c '^saving after this step' "$room/out")" 2 "USR1, then others: said for USR1 and for TERM"
    [ -e "$room/batch/checkpoints/step-00000001" ] || fail "USR1, then others: nothing was saved"

    # Without checkpoints nothing is promised.
    begin "$room/none" --checkpoint.enable=false
    wait_for "$room/out" '^step .*loss'
    kill -TERM $pid
    end
    expect 143 "without checkpoints"
    says '^stopping after this step without saving; again: quit now' "without checkpoints"
    says '^nothing was saved' "without checkpoints"

    # A first step of seconds is announced.
    config=configs/dsv3_debug.toml
    train announced --training.steps=1 --checkpoint.enable=false
    expect 0 "a first step of seconds"
    says '^the first step takes about [1-9][0-9]* s$' "a first step of seconds"
fi
finish
