# A tokenizer is trained, texts are tokenized, a model is trained on them, goes on, and samples; another tokenizer is refused.
. tests/lib/check.sh

prose=tests/data/prose.jsonl
run tokenizer train $prose --vocab-size 400 --out "$room/tok"
expect 0 "tokenizer train"
says "tok/tokenizer.json: 400 tokens from [0-9]+ documents" "tokenizer train: what was made"
"$BIN" tokenizer train $prose --vocab-size=400 --out="$room/again" >"$room/out" 2>&1
cmp "$room/tok/tokenizer.json" "$room/again/tokenizer.json" || fail "the same texts give another tokenizer"
run tokenizer train $prose --vocab-size 400 --out "$room/tok"
expect 1 "tokenizer train over another"

# Every text comes back; threads change nothing.
"$BIN" tokenize "$room/tok" $prose >"$room/ids" 2>"$room/err" || fail "tokenize: $(cat "$room/err")"
"$BIN" tokenize "$room/tok" $prose --threads 1 | cmp - "$room/ids" || fail "one thread gives other ids"
"$BIN" tokenize "$room/tok" "$room/ids" --decode >"$room/back"
"$BIN" tokenize byte $prose >"$room/bytes"
"$BIN" tokenize byte "$room/back" --text-key text 2>"$room/err" | cmp - "$room/bytes" || fail "texts do not come back"
same "$("$BIN" tokenize "$room/tok" --ids "$("$BIN" tokenize "$room/tok" --text 'a  b<|eos|>')")" "a  b<|eos|>" "one text and back"
run tokenize "$room/tok" $prose --count
says "^[0-9]+ documents, [0-9]+ bytes, [0-9]+ tokens, [0-9.]+ bytes per token$" "tokenize --count"
run tokenize "$room/tok" $prose --out "$room/tokens.safetensors"
expect 0 "tokenize --out"
run inspect "$room/tokens.safetensors"
expect 0 "inspect a file of tokens"
"$BIN" tokenize "$room/tok" "$room/tokens.safetensors" | cmp - "$room/ids" || fail "the file of tokens has other ids"
run tokenize "$room/tok" "$room/tokens.safetensors" --out "$room/again.safetensors"
expect 3 "tokenize --out of tokens"
run tokenize "$room/tok" --ids "1 x"
expect 3 "no ids"
run tokenize "$room/tok" --text x --ids 1
expect 2 "two sources"
run tokenize "$room/none" --text x
expect 1 "no tokenizer"

# A run: vocabulary too small, then trained, resumed, sampled; its checkpoint has the tokenizer.
train() { # STEPS [FLAG ...]
    steps=$1 && shift
    run train configs/micro_gqa.toml --run.dir="$room/run" --training.dataset_path=$prose --tokenizer.path="$room/tok" \
        --model.vocab_size=400 --training.steps="$steps" --checkpoint.interval=2 "$@"
}
train 2 --model.vocab_size=300
expect 2 "vocabulary too small"
says 'model.vocab_size = 300: the tokenizer .*tok/tokenizer.json has 400 ids' "vocabulary too small: both values"
train 2
expect 0 "train"
ckpt=$room/run/checkpoints/step-00000002
cmp "$ckpt/tokenizer.json" "$room/tok/tokenizer.json" || fail "the checkpoint's tokenizer.json"
cmp "$ckpt/tokenizer_config.json" "$room/tok/tokenizer_config.json" || fail "the checkpoint's tokenizer_config.json"
grep -q '"bos_token_id": 0' "$ckpt/config.json" || fail "config.json: bos_token_id"
cp "$room/tok/tokenizer.json" "$room/kept"
sed -i 's/"version": "1.0"/"version":  "1.0"/' "$room/tok/tokenizer.json"
train 4
expect 3 "another tokenizer at the same path"
says 'another tokenizer: the run.s has the hash [0-9a-f]{32} .*, this one [0-9a-f]{32}' "another tokenizer: both hashes"
cp "$room/kept" "$room/tok/tokenizer.json"
train 4
expect 0 "resumed"
rm -r "$room/run"
train 4
digest=$(sed -n 's/^digest of step 4: //p' "$room/out")
# The same on the file of tokens that tokenize wrote; and not with another tokenizer.
run train configs/micro_gqa.toml --run.dir="$room/tokens" --training.dataset_path="$room/tokens.safetensors" --data.format=auto \
    --tokenizer.path="$room/tok" --model.vocab_size=400 --training.steps=4 --validation.enable
expect 0 "train on a file of tokens"
same "$(sed -n 's/^digest of step 4: //p' "$room/out")" "$digest" "text and the file of its tokens"
run train configs/micro_gqa.toml --run.dir="$room/other" --training.dataset_path="$room/tokens.safetensors" --training.steps=1
expect 3 "a file of tokens as lines of JSON"
says "tokens.safetensors: a file of tokens, not UTF-8 text: data.format = auto or tokens" "what to do"
run train configs/micro_gqa.toml --run.dir="$room/other" --training.dataset_path="$room/tokens.safetensors" --training.steps=1 \
    --data.format=tokens
expect 3 "a file of tokens, and another tokenizer"
says "tokens.safetensors: its tokens are those of the tokenizer [0-9a-f]{32} with 400 ids, the run.s is byte with 259" "both tokenizers"
run verify configs/micro_gqa.toml --training.dataset_path=$prose --tokenizer.path="$room/tok" --model.vocab_size=400 --steps 1 --layouts 4
expect 0 "verify with a tokenizer"
rm -r "$room/run/checkpoints/step-00000004"
train 4
says "resumed from .*step-00000002" "from step 2"
same "$(sed -n 's/^digest of step 4: //p' "$room/out")" "$digest" "in one go and resumed"
rm -r "$room/tok" # the checkpoint's own is used
run generate "$room/run" --prompt "the moon" --max-tokens 8
expect 0 "generate"
says "^the moon" "generate: what it begins with"
run inspect "$ckpt/../step-00000004"
says "generate +can, in class [a-z0-9]+, with its tokenizer.json of 400 ids" "inspect: the tokenizer"
finish
