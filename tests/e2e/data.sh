# Data as people have them: folders, links, other encodings and formats; what is held out and what is validated on.
. tests/lib/check.sh
steps="--training.steps=2 --checkpoint.enable=false --data.format=auto"
d=$room/d
prose=tests/data/prose.jsonl

# A book and three notes: a share of the bytes is a ceiling.
mkdir "$d"
for i in 1 2 3; do echo "note $i, a line of 27 bytes" >"$d/note$i"; done
sed -n 's/.*"text": "\([^"\\]*\)".*/\1/p' $prose >"$d/book.txt"
total=$(cat "$d"/* | wc -c)
train notes $steps --training.dataset_path="$d" --validation.enable
expect 0 "a book and three notes"
says "^1 documents to train on \($((total - 81)) bytes.* 3 held out \(81 bytes\)" "a book and three notes"

# How the folder is spelled, where it lies, whether its files are links: the same bits. The order of the list is another run.
want=$(history notes)
cp -R "$d" "$room/elsewhere"
mkdir "$room/links" "$room/twice"
for f in "$d"/*; do ln -s "$f" "$room/links/"; done
for spelled in "$d/" "$room/./d" "$room/elsewhere" "$room/links"; do
    train spelled $steps --training.dataset_path="$spelled" --validation.enable --run.fresh
    same "$(history spelled)" "$want" "$spelled"
    rm -rf "$room/spelled"
done
ln -s ../nowhere "$d/gone"
train dangling $steps --training.dataset_path="$d" --validation.enable
same "$(history dangling)" "$want" "a dangling link"
says "^warning: .*/d/gone: passed over: a link to ../nowhere, which is not there" "a dangling link"
for order in "book note1" "note1 book"; do
    cp "$d/book.txt" "$room/twice/book"
    cp "$d/note1" "$room/twice/note1"
    train "${order%% *}" $steps --training.dataset_path="$room/twice/${order%% *}" --training.dataset_path="$room/twice/${order##* }" \
        --data.holdout=0 --data.no-shuffle
    expect 0 "$order"
done
differ "$(history book)" "$(history note1)" "the order of the list"

# validation.dataset_path: all of the training text is trained on, and the loss is that of the other text.
train all $steps --data.holdout=0
train given $steps --validation.dataset_path="$d/book.txt" --validation.enable
expect 0 "validation.dataset_path"
same "$(history given)" "$(history all)" "validation.dataset_path: everything is trained on"
same "$(sed -n 's/.*"kind":"eval".*"tokens":\([0-9]*\).*/\1/p' "$room/given/metrics.jsonl")" \
    "$(($(wc -c <"$d/book.txt") + 1))" "validation.dataset_path: what is measured"
train holdout0 $steps --validation.dataset_path="$d/book.txt" --validation.enable --data.holdout=0
same "$(history holdout0)" "$(history all)" "validation.dataset_path and data.holdout=0"
train missing $steps --validation.dataset_path="$room/none" --validation.enable
expect 1 "a validation.dataset_path that is not there"
says "$room/none: cannot open" "a validation.dataset_path that is not there"

# Validation asked for and nothing held out is an error before the first step.
printf 'a' >"$room/one"
train nothing $steps --training.dataset_path="$room/one" --validation.enable
expect 2 "nothing is held out"
says "validation.enable: nothing is held out of 1 documents" "nothing is held out"

# What is no UTF-8 text is named; the likely key too.
printf '\211PNG\r\n\032\n' >"$room/elsewhere/z.png"
train png $steps --training.dataset_path="$room/elsewhere"
expect 3 "a picture in the folder"
says "/elsewhere/z.png: a PNG picture, not UTF-8 text: leave it out.*data.suffixes" "a picture in the folder"
train png $steps --training.dataset_path="$room/elsewhere" --data.suffixes=.TXT
expect 0 "data.suffixes"
printf 'caf\351 au lait, and more of it\n' >"$room/latin1.txt"
train latin $steps --training.dataset_path="$room/latin1.txt"
expect 3 "Latin-1"
says "latin1.txt:1: byte 3 \(0xe9\) is not UTF-8.*iconv -f WINDOWS-1252.*data.encoding_errors=replace" "Latin-1"
train latin $steps --training.dataset_path="$room/latin1.txt" --data.encoding_errors=replace
expect 0 "data.encoding_errors=replace"
sed 's/"text"/"body"/' $prose >"$room/body.JSONL"
train key $steps --training.dataset_path="$room/body.JSONL"
expect 3 "another key"
says 'no text under "text" \(data.text_key\) in the first 5 lines; keys there: "body"; .*--data.text_key=body' "another key"
train key $steps --training.dataset_path="$room/body.JSONL" --data.text_key=body --data.holdout=0
same "$(history key)" "$(history all)" "data.text_key, and .JSONL"

# The demo's text: its hash is checked before anything is built, and it is prose, not a pattern.
sh tools/demo.sh --check || fail "the demo's text is not the one that its digest was made from"
mkdir -p "$room/copy/tools" "$room/copy/examples/data"
cp tools/demo.sh "$room/copy/tools"
for text in changed missing; do
    [ $text = missing ] && rm "$room/copy/examples/data/short_pieces.jsonl"
    [ $text = missing ] || sed '7s/the/teh/' examples/data/short_pieces.jsonl >"$room/copy/examples/data/short_pieces.jsonl"
    (cd "$room/copy" && sh tools/demo.sh --check) >"$room/out" 2>&1 && fail "the demo's text, $text: not refused"
    says "demo: examples/data/short_pieces.jsonl (is not the text|cannot be read)" "the demo's text, $text"
    (cd "$room/copy" && sh tools/demo.sh --check --training.dataset_path=x) || fail "the demo's text, $text: one's own is refused"
done
if command -v xz >/dev/null; then
    packed=$(xz -9 -k -c examples/data/short_pieces.jsonl | wc -c)
    [ $((packed * 100)) -ge $((28 * $(wc -c <examples/data/short_pieces.jsonl))) ] || fail "xz shrinks the demo's text to $packed bytes"
fi
finish
