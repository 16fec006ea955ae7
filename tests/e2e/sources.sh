# Sources that take turns: one digest in every layout, over a resume at any step and with another seq_len by the way; other
# weights, other files, what is no source are refused.
. tests/lib/check.sh

prose=tests/data/prose.jsonl
mkdir "$room/notes"
head -n 40 $prose | cut -c 1-200 | sed 's/"}*$//; s/$/"}/' >"$room/notes/a.jsonl"
printf 'A text.\nOf some lines.\n' >"$room/notes/b.txt"
sed -e '/^dataset_path/d' -e '/^format/d' configs/micro_gqa.toml >"$room/config.toml"
config=$room/config.toml
sources="--data.sources=$prose:5 --data.sources=$room/notes:2 --data.sources=examples/data/short_pieces.jsonl:1"
keep="--training.steps=6 --checkpoint.interval=1 --checkpoint.keep_latest_k=0 --validation.enable"

train whole $keep $sources
expect 0 "train on three sources"
says "^source $prose:5: 5 of 8 sequences, [0-9]+ documents \([0-9]+ bytes\)$" "a line for a source"
want=$(history whole)
run train "$config" --run.dir="$room/one" --training.dataset_path=$prose --training.steps=6
differ "$(digest)" "$(echo "$want" | sed -n '6s/.* //p')" "three sources and one"

# In layouts, and in one run that is resumed in another each time; the sources are the checkpoint's.
layouts=8
[ -z "${QUICK-}" ] || layouts=3
run verify "$config" --steps 2 --layouts $layouts $sources
expect 0 "verify with sources"
k=0
while read -r ranks flags; do
    copy_until whole parts $k
    [ $k -gt 0 ] || rm -rf "$room/parts"
    "$BIN" train "$config" --run.dir="$room/parts" $keep ${k:+$sources} --run.ranks="$ranks" $flags >"$room/out" 2>&1 </dev/null ||
        fail "resumed at $k: $(tail -n 1 "$room/out")"
    same "$(history parts)" "$want" "resumed at $k by $ranks ranks $flags"
    k=$((k + 2))
done <<END
2 --run.threads=2
1 --training.local_batch_size=3
4 --run.threads=4 --data.cache_dir=$room/cache
END

# Another length of sequences by the way: twice the same, whatever interrupts it.
longer="--training.seq_len=48 --checkpoint.new_recipe"
for at in 3 5; do
    copy_until whole longer$at 3
    [ $at -eq 3 ] || { train longer$at $keep --training.steps=5 $longer; expect 0 "longer sequences, two steps"; }
    train longer$at $keep $longer
    expect 0 "longer sequences from step 3 on, interrupted at $at"
done
same "$(history longer5)" "$(history longer3)" "longer sequences, interrupted and not"
differ "$(history longer3)" "$want" "longer sequences and not"

refused() { # CODE PATTERN WHAT [FLAG ...]
    code_wanted=$1 pattern=$2 what=$3
    shift 3
    run train "$config" --run.dir="$room/refused" --training.steps=1 "$@"
    expect "$code_wanted" "$what"
    says "$pattern" "$what"
}
refused 2 'data.sources .*"a.jsonl" is no path with a weight of 1 to 1000000 behind its last colon' "no weight" --data.sources=a.jsonl
refused 2 '"a.jsonl:0" is no path with a weight' "weight 0" --data.sources=a.jsonl:0
refused 2 '":3" is no path with a weight' "no path" --data.sources=:3
refused 2 'data.sources .*training.dataset_path is stated too: choose one of them' "both" $sources --training.dataset_path=$prose
refused 1 'none.jsonl: cannot open' "a source that is not there" --data.sources=$prose:1 --data.sources="$room/none.jsonl:1"
run train "$config" --run.dir="$room/whole" $keep --training.steps=7 --data.sources=$prose:5 --data.sources="$room/notes:3" \
    --data.sources=examples/data/short_pieces.jsonl:1
expect 2 "other weights"
says 'data.sources .*the run has .*notes:2.*: other documents' "other weights: both values"
echo '{"text":"new"}' >>"$room/notes/a.jsonl"
train whole $keep --training.steps=7
expect 3 "a source that changed"
says 'notes/a.jsonl: the data file changed since the run began' "a source that changed"
finish
