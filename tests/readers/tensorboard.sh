# Event files as the package `tensorboard` reads them: one rank, two, and a run that was stopped and went on, with no step
# twice. Without the package nothing is tested, and that is said.   PYTHON: the interpreter that has it (python3)
. tests/lib/check.sh
python=${PYTHON:-python3}
"$python" -c 'import tensorboard' 2>/dev/null || { echo "tensorboard: $python has no such package, event files are not read back"; exit 0; }
look() { # RUN WHAT
    "$python" tests/readers/read_events.py "$room/$1" >"$room/out" 2>&1 || { fail "$2"; tail -n 4 "$room/out"; }
}
more="--metrics.enable_tensorboard --validation.enable --validation.freq=4 --checkpoint.interval=3"
# shellcheck disable=SC2086
{
    train one --training.steps=8 $more
    expect 0 "train"
    look one "one rank"
    train two --training.steps=8 --run.ranks=2 $more
    expect 0 "train, 2 ranks"
    look two "two ranks"
    copy_until one half 3
    train half --training.steps=8 $more
    expect 0 "train, resumed"
    look half "a run that went on from step 3"
    printf 'torn' >>"$room/half/tb/events.out.tfevents.switchyard"
    train half --training.steps=10 $more
    look half "a run that went on behind a torn record"
}
finish
