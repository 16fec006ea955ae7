# A run in this terminal: switchyard plot in every width, with and without UTF-8, beside a training; switchyard runs.
. tests/lib/check.sh

wide() { # COLUMNS WHAT: of $room/out, a character each
    awk -v most="$1" -v what="$2" '{ gsub(/[\200-\277]/, "") } length($0) > most { print what ": " length($0) ": " $0; bad = 1 } END { exit bad }' \
        "$room/out" || fail "$2: wider than $1 columns"
}
export LC_ALL=C
train runs/whole --training.steps=6 --validation.enable --checkpoint.interval=2
expect 0 "train"
train runs/half --training.steps=3
expect 0 "train"
sed -i 's/^steps = 3/steps = 6/' "$room/runs/half/config.toml"
mkdir "$room/runs/no-run"

for width in 1 2 9 10 23 24 40 80 300; do
    run plot "$room/runs/whole" --width $width
    expect 0 "plot --width $width"
    wide $width "plot --width $width"
    [ "$(grep -c . "$room/out")" -ge 19 ] || fail "plot --width $width: $(grep -c . "$room/out") lines"
done
run plot "$room/runs/whole"
says '^whole  step 6 of 6  loss [0-9.]+  held-out [0-9.]+$' "plot: head"
says '^layer 1  cv [0-9.]+  dead 0$' "plot: a layer"
last=$(sed -n 's/.*"kind":"train","step":6,"loss":\([0-9.]*\).*/\1/p' "$room/runs/whole/metrics.jsonl")
says "loss $(printf %.4f "$last") " "plot: the last loss"
grep -q '[^ -~]' "$room/out" && fail "plot without UTF-8: not plain ASCII"
if locale -a 2>/dev/null | grep -qi '^C\.utf-*8$'; then
    LC_ALL=C.UTF-8 "$BIN" plot "$room/runs/whole" --width 60 --rows 4 --layer 1 >"$room/out" 2>&1 || fail "plot with UTF-8"
    says '█' "plot with UTF-8: blocks"
    [ "$(grep -c '^layer' "$room/out")" -eq 1 ] || fail "--layer 1: other layers"
fi
run plot "$room/runs/whole" --layer 77
expect 2 "plot --layer 77"
for wrong in "--width 0" "--width x" "--rows 0" "--layer -1" "--colour"; do
    # shellcheck disable=SC2086
    run plot "$room/runs/whole" $wrong
    expect 2 "plot $wrong"
done
run plot "$room/nothing"
expect 1 "plot of nothing"

run runs "$room/runs"
expect 0 "runs"
[ "$(grep -c . "$room/out")" -eq 3 ] || fail "runs: not two rows below a head: $(cat "$room/out")"
says "^whole +6/6 +$(printf %.4f "$last") +3072 done +$(sed -n 's/.*"step":6,.*"weights_digest":"\([0-9a-f]*\)".*/\1/p' "$room/runs/whole/metrics.jsonl")$" "runs: done"
says '^half +3/6 .* stopped ' "runs: stopped"
run runs "$room/nothing"
expect 1 "runs of nothing"
run runs "$room/runs/whole/checkpoints"
expect 0 "runs where there are none"
says 'no folder in it has a metrics.jsonl' "runs where there are none"

# Beside a training: followed to its end, and listed as running; the training has the digest of one that is not watched.
"$BIN" train $config --run.dir="$room/runs/live" --run.threads=1 --training.steps=2000 >"$room/train" 2>&1 &
training=$!
wait_for "$room/runs/live/metrics.jsonl" '"step":2,'
run runs "$room/runs"
says '^live .* running ' "runs: running"
kill -TERM $training
run plot "$room/runs/live" --follow --width 40
expect 0 "plot --follow"
wide 40 "plot --follow"
says '^live  step [0-9]+ of 2000  loss' "plot --follow"
wait $training
run runs "$room/runs"
says '^live .* stopped ' "runs: stopped by a signal"
finish
