# eval and logits: the same bytes in every layout, sums that add up, windows, questions, and what is refused.
. tests/lib/check.sh

train run --training.steps=4
expect 0 "4 steps"
model=$room/run
head -n 3 tests/data/prose.jsonl >"$room/few.jsonl"
out() { # FILE arguments...: what the program prints to stdout
    file=$1
    shift
    code=0
    "$BIN" "$@" >"$file" 2>"$room/err" || code=$?
    [ $code -eq 0 ] || fail "$*: exit $code: $(cat "$room/err")"
}

# Every layout prints the same bytes; another class does not.
out "$room/first" eval "$model" --data "$room/few.jsonl" --json
same "$(wc -l <"$room/first")" 4 "a line for each document and one for all"
out "$room/again" eval "$model" --data "$room/few.jsonl" --json --run.threads=1 --run.tier=ref
cmp "$room/first" "$room/again" || fail "another layout, other figures"
out "$room/again" eval "$model" --data "$room/few.jsonl" --json --numerics.class=fp32
cmp -s "$room/first" "$room/again" && fail "another class, the same figures"
grep -q "class x86" "$room/err" && fail "the class is not said"

# The documents' nats, in units of 2^-24, add up to those of all; tokens are the bytes here.
sed -n 's/.*"document":.*"bytes":\([0-9]*\),"tokens":\([0-9]*\),"nats":\([0-9.]*\)}/\1 \2 \3/p' "$room/first" >"$room/rows"
total=$(awk '{ b += $1; t += $2; n += $3 } END { printf "%d %d %.6f", b, t, n }' "$room/rows")
same "$total" "$(sed -n 's/.*"documents":3,"bytes":\([0-9]*\),"tokens":\([0-9]*\),"nats":\([0-9.]*\),.*/\1 \2 \3/p' "$room/first" |
    awk '{ printf "%d %d %.6f", $1, $2, $3 }')" "sums"
awk '$1 != $2 { exit 1 }' "$room/rows" || fail "a token is a byte"

# Texts of any lengths are computed together, and each has the bits that it has alone: documents one by one, questions
# one by one, in a file each.
i=0
while [ $i -lt 12 ]; do
    head -c $((3 + i * i * 5)) tests/data/prose.jsonl | tail -c +2 | tr -dc 'a-z ' >"$room/doc"
    printf '{"text": "%s."}\n' "$(cat "$room/doc")"
    i=$((i + 1))
done >"$room/mixed.jsonl"
out "$room/together" eval "$model" --data "$room/mixed.jsonl" --json --training.seq_len=200
i=0
while IFS= read -r line; do
    printf '%s\n' "$line" >"$room/alone.jsonl"
    out "$room/alone" eval "$model" --data "$room/alone.jsonl" --json --training.seq_len=200
    i=$((i + 1))
    same "$(sed -n 1p "$room/alone" | sed 's/.*"bytes"//')" "$(sed -n "${i}p" "$room/together" | sed 's/.*"bytes"//')" \
        "document $i alone, and beside others"
done <"$room/mixed.jsonl"
out "$room/none" logits "$model" --data "$room/mixed.jsonl" --training.seq_len=200 --out "$room/together.safetensors"
out "$room/none" logits "$model" --data "$room/alone.jsonl" --training.seq_len=200 --out "$room/alone.safetensors"
n=$(($(wc -c <"$room/alone.safetensors") / 2))
tail -c $n "$room/alone.safetensors" >"$room/a"
tail -c $n "$room/together.safetensors" | cmp - "$room/a" || fail "the last document's logits alone, and beside others"

# More context, another figure; a stride of all there is room for is none. A short text has one window.
out "$room/again" eval "$model" --data "$room/few.jsonl" --json --stride 8
cmp -s "$room/first" "$room/again" && fail "--stride changes nothing"
printf 'A short text.' >"$room/short.txt"
out "$room/one" eval "$model" --data "$room/short.txt" --json
out "$room/two" eval "$model" --data "$room/short.txt" --json --stride 1
cmp "$room/one" "$room/two" || fail "a stride matters in one window"
out "$room/table" eval "$model" --data "$room/short.txt"
grep -q "^1 documents, 13 bytes, 13 tokens$" "$room/table" || fail "the table's head"
grep -qE "^perplexity +[0-9.]+$" "$room/table" || fail "the table's perplexity"

# Questions: who wins by sum, characters, bytes and tokens.
cat >"$room/quiz.jsonl" <<'E'
{"context": "The sky is", "choices": ["blue", "a very long and most unlikely answer"], "answer": 0}
{"context": "The sky is  ", "choices": ["blue", "a very long and most unlikely answer"], "answer": "blue"}

{"context": "", "choices": ["\u00e9\u00e9", "x"], "answer": 1}
E
out "$room/asked" eval "$model" --multiple-choice "$room/quiz.jsonl" --json
out "$room/again" eval "$model" --multiple-choice "$room/quiz.jsonl" --json --run.threads=1 --run.tier=ref
cmp "$room/asked" "$room/again" || fail "another layout, other answers"
same "$(sed -n 's/.*"tokens":\(\[.*\]\)}/\1/p' "$room/asked" | tr '\n' ' ')" "[5,37] [7,39] [5,2] " "tokens of the continuations"
same "$(sed -n 's/.*"chosen":{"acc":\([0-9]\).*/\1/p' "$room/asked" | tr '\n' ' ')" "0 0 1 " "the shorter ones by sum"
grep -q '"questions":3,"acc":1.0,"acc_stderr":0.0,' "$room/asked" || fail "acc of all"
line=0
while IFS= read -r question; do
    line=$((line + 1))
    [ -n "$question" ] || continue
    printf '%s\n' "$question" >"$room/one.jsonl"
    out "$room/alone" eval "$model" --multiple-choice "$room/one.jsonl" --json
    same "$(sed -n 's/.*"loglikelihood"//p' "$room/alone")" \
        "$(sed -n "s/^{\"line\":$line,.*\"loglikelihood\"//p" "$room/asked")" "question of line $line alone, and beside others"
done <"$room/quiz.jsonl"
out "$room/table" eval "$model" --multiple-choice "$room/quiz.jsonl" --delimiter ": "
grep -qE "^acc_norm +[01]\.[0-9]{4}  ± 0\.[0-9]{4}$" "$room/table" || fail "the table of answers"
bad_quiz() { # LINE PATTERN WHAT
    echo "$1" >"$room/bad.jsonl"
    run eval "$model" --multiple-choice "$room/bad.jsonl"
    expect 3 "$3"
    says "bad.jsonl:1:.*$2" "$3"
}
bad_quiz '{"context": "a", "choices": ["b"], "answer": 0}' "1 choices, must be in 2..1000" "one choice"
bad_quiz '{"context": "a", "choices": ["b", ""], "answer": 0}' "choice 1 is no text, or an empty one" "an empty choice"
bad_quiz '{"context": "a", "choices": ["b", "c"], "answer": 2}' 'key "answer" is 2, must be in 0 … 1' "an answer beyond"
bad_quiz '{"context": "a", "choices": ["b", "c"], "answer": "d"}' 'the answer "d" is none of the choices' "no such answer"
bad_quiz '{"choices": ["b", "c"], "answer": 0}' 'key "context"' "no context"
bad_quiz '[1' "" "no JSON"
{ cat "$room/quiz.jsonl" && echo '[1'; } >"$room/bad.jsonl"
"$BIN" eval "$model" --multiple-choice "$room/bad.jsonl" --json >"$room/again" 2>"$room/err" && fail "no JSON at the end"
head -n 3 "$room/asked" | cmp - "$room/again" || fail "answers before a line that is refused"
: >"$room/bad.jsonl"
run eval "$model" --multiple-choice "$room/bad.jsonl"
expect 3 "no question"

# Logits: a file, itself again, another layout, another model, another file's.
out "$room/none" logits "$model" --data "$room/few.jsonl" --out "$room/ours.safetensors"
out "$room/with" logits "$model" --compare "$room/ours.safetensors" --json --run.threads=1 --run.tier=ref
grep -q '"sequences":3,"tokens":96,"max_difference":0.0,"mean_difference":0.0,"kl_mean":0.0,"kl_max":0.0,"top1_agreement":1.0' "$room/with" ||
    fail "logits in another layout: $(cat "$room/with")"
out "$room/with" logits "$model" --compare "$room/ours.safetensors" --json --numerics.class=fp32
grep -q '"max_difference":0.0,' "$room/with" && fail "another class has the same logits"
grep -q '"max_difference":0.0' "$room/with" || fail "another class is far away: $(cat "$room/with")"
train other --training.steps=1
out "$room/with" logits "$model" --compare "$room/other" --text "The sky"
grep -q "^1 sequences, 8 tokens$" "$room/with" || fail "the table of a comparison"
out "$room/with" logits "$room/other" --compare "$model" --text "The sky" --out "$room/both.safetensors"
run inspect "$room/both.safetensors"
says "logits.000000" "a file beside a comparison"
run logits "$model" --compare "$room/ours.safetensors" --text x
expect 2 "sequences twice"
run logits "$model" --compare "$room/ours.safetensors" --training.seq_len=16
expect 2 "a sequence that is too long"
says "sequence 0 has 32 tokens, training.seq_len is 16" "a sequence that is too long"
run logits "$model" --data "$room/few.jsonl" --out "$room/ours.safetensors"
expect 1 "a file that is there"
run logits "$model" --text x
expect 2 "nothing to do"
run logits "$model" --compare "$room/other"
expect 2 "two models and no text"
says "--text TEXT or --data FILE is needed" "two models and no text"
run logits "$model" --compare "$(checkpoint run 4)/model-00001-of-00001.safetensors"
expect 3 "a file of something else"
says "it is no file of logits" "a file of something else"
run eval "$model"
expect 2 "no texts"
run eval "$model" --data "$room/few.jsonl" --stride 33
expect 2 "a stride beyond the sequence"
run eval "$model" --data "$room/nothing"
expect 1 "no file"
run eval "$room/few.jsonl" --data "$room/few.jsonl"
expect 2 "no model"
finish
