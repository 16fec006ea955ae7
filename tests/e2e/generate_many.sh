# Several prompts and samples: each is what it is by itself; stops; prompts from files and pipes; JSON.
. tests/lib/check.sh

train run --training.steps=20 --checkpoint.interval=20
expect 0 "20 steps"
model="$room/run"
texts() { # FILE option...: the texts of the JSON lines
    to=$1
    shift
    "$BIN" generate "$model" --json --max-tokens 12 "$@" >"$room/out" 2>"$room/err" || fail "generate $*: $(cat "$room/err")"
    sed 's/"number":[0-9]*,//' "$room/out" >"$to"
}
texts "$room/a" --prompt "The " -n 3
texts "$room/b" --prompt "moon" --samples=3
texts "$room/ab" --prompt "The " --prompt "moon" -n 3
cat "$room/a" "$room/b" | cmp - "$room/ab" || fail "a text depends on those before it"
same "$(wc -l <"$room/ab")" 6 "texts of two prompts, three samples each"
same "$(sort -u "$room/a" | wc -l)" 3 "three samples are three texts"
texts "$room/one" --prompt "The "
head -n 1 "$room/a" | cmp - "$room/one" || fail "the first sample is not the only one"
grep -q '^{"prompt":"The ","sample":0,"prompt_tokens":5,"text":".*","tokens":\[[0-9,]*\],"end":"length"}$' "$room/one" ||
    fail "the object of a text: $(cat "$room/one")"

# Whichever are computed together, each is the text that it is alone; they end at different places, one at once.
printf 'moon\nThe river was wide, and nobody who lived there had ever seen the other side of it.\na\n\nof\nThe \n' >"$room/mixed"
for options in "" "--temperature 0" "--temperature 0 --stop e"; do
    for together in 1 2 3 5 8; do
        # shellcheck disable=SC2086
        texts "$room/beside.$together" --prompt-file "$room/mixed" -n 2 --together $together $options
        cmp "$room/beside.1" "$room/beside.$together" || fail "$together texts together, $options: others than alone"
        # shellcheck disable=SC2086
        "$BIN" generate "$model" --max-tokens 12 --prompt-file "$room/mixed" -n 2 --together $together $options \
            >"$room/plain.$together" 2>/dev/null || fail "$together texts together, $options"
        cmp "$room/plain.1" "$room/plain.$together" || fail "$together texts together, $options: written otherwise"
    done
    same "$(wc -l <"$room/beside.8")" 10 "texts of five prompts, two samples each"
done
"$BIN" generate "$model" --json --prompt-file "$room/mixed" --max-tokens 0 >"$room/none" 2>/dev/null || fail "no tokens"
same "$(grep -c '"tokens":\[\],"end":"length"' "$room/none")" 5 "texts of no tokens"
texts "$room/short.1" --prompt-file "$room/mixed" --training.seq_len=16 --together 1
texts "$room/short.3" --prompt-file "$room/mixed" --training.seq_len=16 --together 3
cmp "$room/short.1" "$room/short.3" || fail "beyond seq_len, texts together are others than alone"

# The plain form has the same texts.
"$BIN" generate "$model" --prompt "The " --max-tokens 12 >"$room/plain" 2>/dev/null
"$BIN" generate "$model" --prompt "The " --prompt "moon" -n 2 --max-tokens 12 >"$room/many" 2>"$room/err"
same "$(grep -a -c '^== prompt [12], sample [12]$' "$room/many")" 4 "heads of four texts"
head -c "$(wc -c <"$room/plain")" <<END | cmp - "$room/plain" || fail "the first of several texts is another"
$(sed -e 1d "$room/many")
END
grep -aEq '^48 tokens in [0-9.]+ s: [0-9]+ tokens/s$' "$room/err" || fail "no line says how fast: $(cat "$room/err")"

# Prompts of files: lines, JSON lines, packed, from a pipe.
printf 'The \n\nmoon\r\n' >"$room/lines"
printf '{"prompt":"The "}\n{"id":7,"prompt":"moon"}\n' >"$room/p.jsonl"
{ printf '\357\273\277' && cat "$room/lines"; } >"$room/marked" # a mark (BOM) is no part of a prompt
{ printf '\357\273\277' && cat "$room/p.jsonl"; } >"$room/marked.jsonl"
for file in lines p.jsonl marked marked.jsonl; do
    texts "$room/file" --prompt-file "$room/$file" -n 3
    cmp "$room/file" "$room/ab" || fail "prompts of $file"
    texts "$room/file" --prompt-file - -n 3 <"$room/$file"
    cmp "$room/file" "$room/ab" || fail "prompts of $file from standard input"
    gzip -c "$room/$file" >"$room/$file.gz"
    texts "$room/file" --prompt-file "$room/$file.gz" -n 3
    cmp "$room/file" "$room/ab" || fail "prompts of $file.gz"
done
texts "$room/both" --prompt "The " --prompt-file "$room/lines"
same "$(wc -l <"$room/both")" 3 "a prompt and a file of two"
printf '{"prompt":"a\\nb"}\n{"text":"no prompt"}\n' >"$room/bad.jsonl"
run generate "$model" --prompt-file "$room/bad.jsonl" --max-tokens 1
expect 3 "a line without a prompt"
says "bad.jsonl:2: .*prompt" "a line without a prompt is named"
: >"$room/empty"
run generate "$model" --prompt-file "$room/empty"
expect 2 "no prompts"
says "empty: holds no prompt" "no prompts"
run generate "$model" --prompt-file "$room/nowhere"
expect 1 "no such file"
says "nowhere" "no such file"

# A stop: the text ends before it, as the whole text says where; it is not handed out, not even in part.
greedy() { # FILE option...: one text, by the likeliest tokens
    to=$1
    shift
    "$BIN" generate "$model" --prompt "The " --temperature 0 --max-tokens 40 "$@" >"$to" 2>"$room/err" ||
        fail "generate $*: $(cat "$room/err")"
}
greedy "$room/whole"
body=$(tail -c +5 "$room/whole")
stop=$(printf %s "$body" | cut -c 7-9)
before=${body%%"$stop"*}
greedy "$room/cut" --stop "$stop" --stop "not in the text at all"
same "$(cat "$room/cut")" "The $before" "the text before '$stop'"
greedy "$room/json" --stop "$stop" --json
grep -q '"end":"stop"' "$room/json" || fail "a stop is not what ended it: $(cat "$room/json")"
greedy "$room/cut" --stop "${stop}#"
cmp "$room/cut" "$room/whole" || fail "a stop that only begins in the text changes it"

# Beyond seq_len, which is said once.
"$BIN" generate "$model" --prompt x --max-tokens 20 -n 2 --training.seq_len=16 >/dev/null 2>"$room/err" || fail "beyond seq_len"
same "$(grep -c 'longer than training.seq_len, 16:' "$room/err")" 1 "lines about seq_len"
"$BIN" generate "$model" --prompt x --max-tokens 15 --training.seq_len=16 >/dev/null 2>"$room/err" || fail "up to seq_len"
same "$(grep -c 'longer than training.seq_len' "$room/err")" 0 "lines about seq_len: BOS, x and 15 tokens, of which 14 are read"

for wrong in "--together 0" "--together 2000" "--samples 0" "-n many" "--samples 1.5" "-n" "--stop" "--prompt-file"; do
    # shellcheck disable=SC2086
    run generate "$model" --prompt x $wrong
    expect 2 "$wrong"
done
run generate "$model" --prompt x --stop ""
expect 2 "an empty stop"
finish
