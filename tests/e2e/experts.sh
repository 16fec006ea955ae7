# switchyard inspect --experts: a run's loads, in a pipe and on a terminal, as JSON, over a resume; what it refuses.
. tests/lib/check.sh

wide() { # WHAT: of $room/out
    awk -v what="$1" 'length($0) > 80 { print what ": " length($0) " columns: " $0; bad = 1 } END { exit bad }' "$room/out" ||
        fail "$1: wider than 80 columns"
}

train run --training.steps=10 --checkpoint.interval=4
expect 0 "train"
layers=$(sed -n 1p "$room/run/metrics.jsonl" | grep -o '"load":\[[0-9,]*\]' | wc -l)
[ "$layers" -gt 0 ] || fail "metrics.jsonl has no loads"
# Each line's loads: the routes of the global batch, and min and max are theirs. micro_gqa: 16 sequences of 32 tokens.
tr '{' '\n' <"$room/run/metrics.jsonl" | sed -n 's/^"layer":.*"load_min":\([0-9]*\),"load_max":\([0-9]*\).*"dead":\([0-9]*\),"load":\[\([0-9,]*\)\].*/\1 \2 \3 \4/p' |
    awk '{ n = split($4, load, ","); sum = dead = 0; min = max = load[1]
           for (i = 1; i <= n; i++) { sum += load[i]; dead += load[i] == 0
               if (load[i] < min) min = load[i]
               if (load[i] > max) max = load[i] }
           if (min != $1 || max != $2 || dead != $3 || sum % 512 || sum == 0) { print "loads: " $0; bad = 1 } }
         END { if (NR == 0) bad = 1; exit bad }' || fail "loads do not fit load_min, load_max, dead or the number of tokens"

run inspect --experts "$room/run"
expect 0 "inspect --experts"
wide "inspect --experts"
says '^steps 1-10$' "inspect --experts"
same "$(grep -c '^layer [0-9]*: 8 experts' "$room/out")" "$layers" "tables"
says '^ *steps +1 +3 +4 +5 +6 +8 +9 +10$' "inspect --experts"
says '^ *7 .* #+$' "inspect --experts: bars of #"
LC_ALL=C grep -q '[^ -~]' "$room/out" && fail "inspect --experts in a pipe: not plain ASCII"
cp "$room/out" "$room/table"
run inspect --experts "$room/run/metrics.jsonl"
cmp -s "$room/out" "$room/table" || fail "inspect --experts of the file: another table"
run inspect "$room/run" --experts --layer 1 --rows=3
expect 0 "--layer --rows"
wide "--layer --rows"
same "$(grep -c '^layer [0-9]*: ' "$room/out")" 1 "--layer 1: tables"
says '^ *rest 5 ' "--rows 3"
run inspect --experts "$room/run" --json
expect 0 "--json"
says '^\{"first_step":1,"last_step":10,"steps":10,.*"layer":1,"experts":8,"steps":10,' "--json"
if locale -a 2>/dev/null | grep -qi '^C\.utf-*8$' && script -qec true /dev/null >/dev/null 2>&1; then
    LC_ALL=C.UTF-8 script -qec "$BIN inspect --experts $room/run" /dev/null </dev/null >"$room/out" 2>&1 || fail "on a terminal: exit $?"
    says '█' "on a terminal: bars of blocks"
    LC_ALL=C script -qec "$BIN inspect --experts $room/run" /dev/null </dev/null >"$room/out" 2>&1 || fail "on a terminal: exit $?"
    says ' ###' "on a terminal without UTF-8: bars of #"
fi

# A resumed run has the loads of one that was never interrupted.
copy_until run half 4
train half --training.steps=10 --checkpoint.interval=4
expect 0 "resumed"
run inspect --experts "$room/half"
cmp -s "$room/out" "$room/table" || fail "inspect --experts of a resumed run: another table"

# The progress line counts the dead: 64 experts, 32 tokens of a sequence.
train many --training.steps=2 --training.global_batch_size=8 --moe.num_experts=64
expect 0 "64 experts"
says '^step .* cv +dead$' "64 experts: head"
says '^ *2/2 .* [0-9]+\.[0-9]+ +[0-9]+$' "64 experts: progress line"

run inspect --experts "$room/nothing"
expect 1 "no such run"
says 'there is no such run' "no such run"
mkdir "$room/empty"
run inspect --experts "$room/empty"
expect 1 "no metrics"
says 'has no metrics.jsonl' "no metrics"
run inspect --experts "$room/run" --layer 77
expect 2 "--layer 77"
says 'layer 77: has no experts; the MoE layers of this run are [0-9]+ to [0-9]+$' "--layer 77"
for wrong in "--layer x" "--layer" "--layer -1" "--rows 0" "--rows 9999999" "--bars" ; do
    # shellcheck disable=SC2086
    run inspect --experts "$room/run" $wrong
    expect 2 "inspect --experts $wrong"
done
run inspect --experts
expect 2 "--experts alone"
run inspect "$room/run" --layer 1
expect 2 "--layer without --experts"
sed '3s/"train","step"/"train,"step"/' "$room/run/metrics.jsonl" >"$room/damaged.jsonl"
run inspect --experts "$room/damaged.jsonl"
expect 3 "a damaged line"
says 'damaged.jsonl:3: ' "a damaged line"
finish
