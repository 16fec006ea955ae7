# Samples: the same for the same seed in every layout, the prompt first, exact byte counts, and what is refused.
. tests/lib/check.sh

train run --training.steps=20 --checkpoint.interval=10
expect 0 "20 steps"
sample() { # option...
    code=0
    "$BIN" generate "$room/run" "$@" >"$room/out" 2>"$room/err" || code=$?
    [ $code -eq 0 ] || fail "generate $*: exit $code: $(cat "$room/err")"
}
sample --prompt "The " --max-tokens 60 --temperature 0.8 --seed 1
cp "$room/out" "$room/first"
same "$(head -c 4 "$room/out")" "The " "the prompt comes first"
sample --prompt "The " --max-tokens 60 --temperature 0.8 --seed 1 --run.threads=1 --run.tier=ref
cmp "$room/out" "$room/first" || fail "another layout samples another text"
sample --prompt "The " --max-tokens 60 --temperature 0.8 --seed 2
cmp -s "$room/out" "$room/first" && fail "another seed samples the same text"
sample --prompt "The " --max-tokens 60 --temperature 0 --seed 1
cp "$room/out" "$room/greedy"
sample --prompt "The " --max-tokens 60 --temperature 0 --seed 7
cmp "$room/out" "$room/greedy" || fail "greedy depends on the seed"
sample --prompt "The " --max-tokens 60 --temperature 5 --top-k 1 --seed 9
cmp "$room/out" "$room/greedy" || fail "top-k 1 is not greedy"
sample --prompt "The " --max-tokens 60 --temperature 5 --top-p 1e-9 --seed 9
cmp "$room/out" "$room/greedy" || fail "a tiny top-p is not greedy"
sample --prompt "" --max-tokens 20
sample --prompt "nothing" --max-tokens 0
# longer than the sequences that it was trained on
sample --prompt "$(head -c 300 tests/data/prose.jsonl | tr -d '\n')" --max-tokens 50
code=0
"$BIN" generate "$(checkpoint run 10)" --prompt x --max-tokens 5 >"$room/out" 2>&1 || code=$?
expect 0 "generate from one checkpoint"

run generate "$room/run" --prompt x --temperature -1
expect 2 "a negative temperature"
run generate "$room/run" --prompt x --temperature nan
expect 2 "a temperature that is no number"
run generate "$room/run" --prompt x --top-p 0
expect 2 "top-p 0"
run generate "$room/run" --prompt x --max-tokens many
expect 2 "max-tokens in words"
run generate "$room/run" --prompt x --max-tokens 1.5
expect 2 "half a token"
run generate "$room/nothing" --prompt x
[ $code -eq 1 ] || [ $code -eq 3 ] || fail "no model there: exit $code"
says "nothing" "no model there"
flip_byte "$(checkpoint run 20)/model-00001-of-00001.safetensors" 9000
run generate "$(checkpoint run 20)" --prompt x
expect 3 "a damaged model"
says "model-00001-of-00001.safetensors" "a damaged model is named"
finish
