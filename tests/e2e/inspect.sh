# inspect: what is no model is not called damaged, what is damaged is, and its answer is that of generate and train, with the
# same exit code.
. tests/lib/check.sh
config=configs/micro_mla.toml

train run --training.steps=2 --checkpoint.interval=1
expect 0 "two steps"
ckpt=$(checkpoint run 2)
run inspect "$room/run"
expect 0 "a run"
says '^ok$' "a run"
says '^model +mla, dim 32, 2 layers, 1 of them with 8 experts, 2 of these for a token$' "a run"
says '^parameters +59872, 41440 active' "a run"
says '^Hugging Face class: DeepseekV3ForCausalLM$' "a run"
says '^train +can go on from step 2$' "a run"
says '^generate +can, in class x86, with bytes as tokens$' "a run"
run plan $config
says '^Hugging Face class: DeepseekV3ForCausalLM$' "plan"
run plan configs/micro_gqa.toml --model.attention_bias
says '^Hugging Face class: none' "plan: attention_bias"
run info
says '^  mixtral-8x7b .* MixtralForCausalLM$' "info"

# both CODE PATH PATTERN WHAT: inspect and generate end with that code and say that.
both() {
    for command in inspect "generate --prompt x --max-tokens 2 --training.seq_len=32"; do
        # shellcheck disable=SC2086
        run $command "$2"
        expect "$1" "$4: $command"
        says "$3" "$4: $command"
    done
}
not_damaged() {
    grep -q DAMAGED "$room/out" && fail "$1: called damaged"
}
both 1 "$room/nothing" 'nothing: there is no such file or folder$' "nothing"
both 2 README.md 'README.md: is no ' "a text file"
not_damaged "a text file"
: >"$room/empty"
both 2 "$room/empty" 'empty: is no ' "an empty file"
printf '12345678' >"$room/short"
both 2 "$room/short" 'short: is no ' "eight bytes"
mkdir "$room/folder"
both 2 "$room/folder" 'folder: has neither checkpoints nor a config.json' "a folder of nothing"
not_damaged "a folder of nothing"
train young --training.steps=1 --checkpoint.enable=false
both 1 "$room/young" 'young: is a run that has saved no checkpoint yet$' "a run without a checkpoint"
not_damaged "a run without a checkpoint"
printf '12345678' >"$room/short.safetensors"
run inspect "$room/short.safetensors"
expect 3 "a name that promises"
head -c 300 "$ckpt/model-00001-of-00001.safetensors" >"$room/cut"
run inspect "$room/cut"
expect 3 "a cut file without its name"
run inspect "$ckpt/model-00001-of-00001.safetensors"
expect 0 "a file"
run inspect "$(printf '%5000s' x)"
expect 1 "a path that is too long"

# A checkpoint of a run that lost its manifest is damaged: in its run, by its place, by its moments.
copy_until run lost 2
rm "$(checkpoint lost 2)/switchyard.json"
both 3 "$(checkpoint lost 2)" 'switchyard.json is missing' "a lost manifest"
both 3 "$(checkpoint lost 2)/" 'switchyard.json is missing' "a lost manifest, with a slash"
cp -r "$(checkpoint lost 2)" "$room/moved"
both 3 "$room/moved" 'switchyard.json is missing' "a lost manifest, elsewhere"
rm -r "$(checkpoint lost 2)/optimizer"
both 3 "$(checkpoint lost 2)" 'switchyard.json is missing' "a lost manifest and moments"
run inspect "$room/lost"
expect 0 "the run of a lost manifest"
says '^warning: checkpoint of step 2 skipped' "the run of a lost manifest"
says 'can go on from step 1$' "the run of a lost manifest"

# A Hugging Face folder: ours, as others would have written it.
foreign() { # NAME
    mkdir "$room/$1"
    sed '/^  "switchyard": {$/,$d' "$ckpt/config.json" | sed '$s/,$//' >"$room/$1/config.json"
    echo '}' >>"$room/$1/config.json"
    cp "$ckpt/model-00001-of-00001.safetensors" "$room/$1/model.safetensors"
}
foreign hf
run inspect "$room/hf"
expect 0 "a Hugging Face folder"
says '^Hugging Face class: DeepseekV3ForCausalLM$' "a Hugging Face folder"
says '^train +can begin with its weights .checkpoint.initial_load_path.$' "a Hugging Face folder"
says '^generate +can, in class fp32, with bytes as tokens$' "a Hugging Face folder: class"
sample() { # FOLDER [option...]
    folder=$1
    shift
    code=0
    "$BIN" generate "$folder" --prompt "The " --max-tokens 40 --temperature 0 --training.seq_len=32 "$@" \
        >"$room/text" 2>"$room/out" || code=$?
    expect 0 "generate $folder $*"
}
sample "$room/hf"
says '^class fp32, tier [a-z0-9_]+, [0-9]+ threads$' "generate: class of a foreign fp32 folder"
cp "$room/text" "$room/text_fp32"
sample "$room/hf" --numerics.class=fp32
cmp "$room/text" "$room/text_fp32" || fail "generate: fp32 by default is not fp32 by choice"
sample "$room/hf" --numerics.class=x86
says '^class x86,' "generate: another class by choice"
sample "$room/run"
says '^class x86,' "generate: the class of a run"
mkdir "$room/ours" # a copy of the weights alone: its config.json says that they are ours
cp "$ckpt/config.json" "$ckpt/model-00001-of-00001.safetensors" "$ckpt/model.safetensors.index.json" "$room/ours"
sample "$room/ours"
says '^class x86,' "generate: our weights alone"

# Tokenizers of others, but for tokenizer.json, are refused, each by its file; inspect has told the rest before.
for file in tokenizer.model tekken.json spiece.model vocab.json merges.txt; do
    foreign "with_$file"
    echo '{}' >"$room/with_$file/$file"
    both 1 "$room/with_$file" "$file: the model has a tokenizer of its own" "$file"
done
foreign class
echo '{"tokenizer_class":"Qwen2Tokenizer"}' >"$room/class/tokenizer_config.json"
both 1 "$room/class" 'tokenizer_config.json: the model has a tokenizer of its own' "another class of tokenizer"
cp "$ckpt/tokenizer_config.json" "$room/class"
sample "$room/class" # bytes, as it says itself
cp "$ckpt/tokenizer.json" "$room/class"
sample "$room/class"
foreign broken
echo '{}' >"$room/broken/tokenizer.json"
both 3 "$room/broken" 'tokenizer.json: key "model" is missing' "a tokenizer.json of nothing"
foreign own # bytes, by the way of any tokenizer.json: the same text
cp "$ckpt/tokenizer.json" "$room/own"
sample "$room/hf" --numerics.class=fp32
cp "$room/text" "$room/text_bytes"
sample "$room/own" --numerics.class=fp32 --tokenizer.bos_token='<|bos|>' --tokenizer.eos_token='<|eos|>'
cmp "$room/text" "$room/text_bytes" || fail "bytes by their tokenizer.json are not bytes"

# What the config asks for and the weights lack, or have otherwise.
foreign tied
sed -i 's/"tie_word_embeddings": false/"tie_word_embeddings": true/' "$room/tied/config.json"
both 3 "$room/tied" 'tensor "lm_head.weight" is not "model.embed_tokens.weight"' "tied weights that differ"
foreign wide
sed -i 's/"intermediate_size": 64/"intermediate_size": 48/' "$room/wide/config.json"
both 3 "$room/wide" 'has shape' "another width"
foreign more
sed -i 's/"num_hidden_layers": 2/"num_hidden_layers": 3/' "$room/more/config.json"
both 3 "$room/more" 'tensor "model.layers.2' "a layer more"
foreign llama
sed -i 's/DeepseekV3ForCausalLM/LlamaForCausalLM/; s/deepseek_v3/llama/' "$room/llama/config.json"
both 3 "$room/llama" 'LlamaForCausalLM' "another class"
foreign half
echo '{' >"$room/half/config.json"
both 3 "$room/half" 'config.json' "a broken config"

# diff: values of the configuration first, then the step, then tensors; their number is that of both.
train a --training.steps=2 --checkpoint.interval=1
train b --training.steps=2 --checkpoint.interval=1 --optimizer.lr=1e-3 --run.threads=1
run diff "$room/a" "$room/b"
expect 1 "diff"
same "$(head -n 3 "$room/out")" "values of the configurations that differ:
  optimizer.lr                     0.0008 | 0.001
  run.threads                      2 | 1   (changes no bit)" "diff: the configuration comes first"
says '^step 1 differs$' "diff: then the step"
run diff "$(checkpoint a 2)" "$(checkpoint b 2)"
expect 1 "diff of checkpoints"
says '^  optimizer.lr +0.0008 \| 0.001$' "diff of checkpoints"
run diff "$room/a" "$room/run"
expect 0 "diff of equal runs"
says '^configurations are equal$' "diff of equal runs"
config=configs/micro_gqa.toml
train other --training.steps=2
run diff "$(checkpoint a 2)" "$(checkpoint other 2)"
expect 1 "diff of different models"
says '^  model.attention +"mla" \| "gqa"$' "diff of different models"
n=$(sed -n 's/^\([0-9]*\) of \([0-9]*\) tensors differ$/\1 \2/p' "$room/out")
[ -n "$n" ] && [ "${n% *}" -le "${n#* }" ] || fail "diff of different models: $n"
same "$(grep -c '^tensor ' "$room/out")" 3 "diff of different models: as many are named"
echo 'lr = [' >"$room/b/config.toml"
run diff "$room/a" "$room/b"
expect 1 "diff with a broken config.toml"
says '^configurations are not compared: .*config.toml' "diff with a broken config.toml"
rm "$room/b/config.toml"
run diff "$room/a" "$room/b"
expect 1 "diff without a config.toml"
says '^configurations are not compared: .*b/config.toml: No such file' "diff without a config.toml"
run diff "$(printf '%4096s' x)" "$room/a"
expect 2 "diff of a path that is too long"
run diff "$room/a" "$(printf '%4096s' x)"
expect 2 "diff with a path that is too long"
finish
