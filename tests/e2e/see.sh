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
[ "$(awk '{ print length }' "$room/out" | sort -n | tail -1)" -le 79 ] || fail "runs: wider than a terminal: $(cat "$room/out")"
same "$(awk '{ print index($0, $6) }' "$room/out" | sort -u | wc -l)" 1 "runs: digests in one column"
odd=$(printf 'a\nb\033[2J')
cp -R "$room/runs/half" "$room/runs/$odd"
run runs "$room/runs"
[ "$(grep -c . "$room/out")" -eq 4 ] || fail "runs: a name of two lines: $(cat "$room/out")"
says '^a\?b\?\[2J +3/6 ' "runs: a name with control characters"
rm -r "$room/runs/$odd"
run runs "$room/nothing"
expect 1 "runs of nothing"
run runs "$room/runs/whole/checkpoints"
expect 0 "runs where there are none"
says 'no folder in it has a metrics.jsonl' "runs where there are none"

# A report takes the place of an earlier one alone: a file of another kind stays, a link stays a link, and what is no
# file is written to.
cp "$room/runs/whole/metrics.jsonl" "$room/kept"
run report "$room/runs/whole" -o "$room/runs/whole/metrics.jsonl"
expect 2 "a report in the place of another file"
says 'metrics.jsonl: is there already and is no report' "a report in the place of another file"
cmp "$room/kept" "$room/runs/whole/metrics.jsonl" || fail "a report in the place of another file"
: >"$room/page"
ln -s page "$room/link"
for n in 1 2; do
    run report "$room/runs/whole" -o "$room/link"
    expect 0 "a report through a link, $n"
done
[ -L "$room/link" ] || fail "a report through a link: the link is gone"
head -n 1 "$room/page" | grep -q '^<!doctype html>' || fail "a report through a link: the file has none"
mkfifo "$room/pipe"
"$BIN" report "$room/runs/whole" -o "$room/pipe" >"$room/out" 2>&1 &
timeout 20 cat "$room/pipe" >"$room/piped"
wait $! || fail "a report into a pipe: exit $?"
[ -p "$room/pipe" ] || fail "a report into a pipe: the pipe is gone"
tail -n 1 "$room/piped" | grep -q '^</html>' || fail "a report into a pipe: not whole"
[ ! -s "$room/out" ] || fail "a report into a pipe: $(cat "$room/out")"
ln -s /dev/full "$room/full"
run report "$room/runs/whole" -o "$room/full"
expect 1 "a report into a full device"
says 'No space left' "a report into a full device"

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
