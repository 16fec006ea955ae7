# A folder for sharing: every precision, the digest, what stands beside the weights; training begins with it as with the
# checkpoint; what is refused leaves nothing behind.
. tests/lib/check.sh
config=configs/micro_mla.toml

train source --training.steps=3
expect 0 "3 steps"
source_digest=$(digest)
model=$(checkpoint source 3)
shared() { # OUT [option...]
    to=$room/$1
    shift
    run convert "$room/source" "$to" "$@"
    expect 0 "convert $*"
    to_digest=$(sed -n 's/^digest of its weights: //p' "$room/out")
}
index_of() { # FOLDER: every tensor of the index is in a file, and every file is named
    sed -n 's/.*": "\(model-.*safetensors\)".*/\1/p' "$1/model.safetensors.index.json" | sort -u >"$room/named"
    (cd "$1" && ls model-*) | cmp - "$room/named" || fail "$1: its index names other files"
}

# fp32: the checkpoint's own bytes. bf16 in many files: half as many bytes, another digest; of these again the same.
shared fp32 --dtype fp32
same "$to_digest" "$source_digest" "the digest of fp32"
cmp "$model/model-00001-of-00001.safetensors" "$room/fp32/model-00001-of-00001.safetensors" || fail "fp32: other bytes"
shared bf16 --max-shard 40KB
index_of "$room/bf16"
[ "$(ls "$room"/bf16/model-* | wc -l)" -ge 3 ] || fail "--max-shard 40KB: $(ls "$room/bf16")"
for file in "$room"/bf16/model-*; do
    [ "$(wc -c <"$file")" -le 40000 ] || fail "$file is larger than 40 KB"
done
bf16=$to_digest
differ "$bf16" "$source_digest" "bf16 rounds"
run convert "$room/bf16" "$room/wide" --dtype=fp32
says "^digest of its weights: $bf16\$" "bf16 in fp32 are the same numbers"
run convert "$room/wide" "$room/bf16_again" --max-shard=40KB
for file in "$room"/bf16/model*; do
    cmp "$file" "$room/bf16_again/${file##*/}" || fail "bf16, fp32, bf16: other bytes in ${file##*/}"
done
shared fp16 --dtype float16
differ "$to_digest" "$bf16" "fp16 rounds otherwise"

# What stands beside the weights.
grep -q '"torch_dtype": "bfloat16"' "$room/bf16/config.json" || fail "config.json: torch_dtype"
same "$(grep position "$room/bf16/config.json")" "$(grep position "$model/config.json")" "config.json: positions"
grep -q '"eos_token_id": 257' "$room/bf16/generation_config.json" || fail "generation_config.json"
for file in tokenizer.json tokenizer_config.json; do
    cmp "$model/$file" "$room/bf16/$file" || fail "$file is another"
done
grep -q "digest of these weights, as fp32 | .$bf16." "$room/bf16/README.md" || fail "README.md: the digest"
grep -q "made from | .$source_digest." "$room/bf16/README.md" || fail "README.md: the digest of the source"
run inspect "$room/bf16"
expect 0 "inspect a converted folder"
run generate "$room/fp32" --prompt "The " --max-tokens 20 --temperature 0 --numerics.class=x86
text=$(cat "$room/out")
run generate "$room/source" --prompt "The " --max-tokens 20 --temperature 0
same "$(grep -avE "^class|tokens/s\$" "$room/out")" "$(echo "$text" | grep -avE "^class|tokens/s\$")" "the text of a converted folder"

# Training begins with it as with the checkpoint, and in each layout alike: also a folder without our own keys, as others'.
cat >"$room/from.toml" <<E
[training]
dataset_path = ["tests/data/prose.jsonl"]
seq_len = 32
global_batch_size = 16
steps = 20
E
from() { # RUN SOURCE [option...]
    dir=$room/$1
    path=$2
    shift 2
    run train "$room/from.toml" --run.dir="$dir" --checkpoint.initial_load_path="$path" --checkpoint.interval=100 "$@"
    expect 0 "from $path"
}
from a "$model"
a=$(digest)
from b "$room/fp32" --run.ranks=2
same "$(digest)" "$a" "from the fp32 copy"
cp -R "$room/bf16" "$room/theirs"
sed '/^  "switchyard": {/,$d' "$room/bf16/config.json" | sed '$ s/,$//' >"$room/theirs/config.json"
echo "}" >>"$room/theirs/config.json"
grep -q switchyard "$room/theirs/config.json" && fail "our keys are still there"
from c "$room/theirs"
says "begins with the weights of $room/theirs, weights digest $bf16" "from a folder of others"
says "^checkpoints are of Hugging Face's class DeepseekV3ForCausalLM" "the class is said"
c=$(digest)
differ "$c" "$a" "bf16 are other weights"
from d "$room/theirs" --run.ranks=3 --training.local_batch_size=1 --run.tier=avx2
same "$(digest)" "$c" "a folder of others, 20 steps in two layouts"

# A model that no class computes: said by train and convert.
train none --training.steps=1 --moe.gate_bias
says "read by switchyard alone: no class of Hugging Face's has moe.gate_bias = true" "no class is said"
run convert "$room/none" "$room/nobody"
says "no class of Hugging Face's has moe.gate_bias = true" "convert without a class"
grep -q "none (moe.gate_bias = true)" "$room/nobody/README.md" || fail "README.md without a class"
run generate "$room/nobody" --prompt x --max-tokens 3
expect 0 "generate without a class"

# What is refused.
run convert "$room/source" "$room/fp32"
expect 2 "a folder that is there"
says "fp32: is there already" "a folder that is there"
run convert "$room/source" "$room/x" --dtype fp8
expect 2 "no such precision"
run convert "$room/source" "$room/x" --max-shard many
expect 2 "no size"
run convert "$room/source" "$room/x" --max-shard 5XB
expect 2 "no unit"
run convert "$room/source"
expect 2 "no folder"
run convert "$room/nothing" "$room/x"
expect 1 "no model"
printf '\000\044\164\111' | # 10^6, as the last number of the last tensor
    dd of="$room/wide/model-00001-of-00001.safetensors" bs=1 conv=notrunc 2>/dev/null \
        seek=$(($(wc -c <"$room/wide/model-00001-of-00001.safetensors") - 4))
run convert "$room/wide" "$room/x" --dtype fp16
expect 3 "beyond fp16"
says 'tensor "model.norm.weight": 1 numbers are too large for F16: choose bf16 or fp32' "beyond fp16"
flip_byte "$model/model-00001-of-00001.safetensors" 9000
run convert "$model" "$room/x"
expect 3 "a damaged model"
[ ! -e "$room/x" ] && [ ! -e "$room/x.tmp" ] || fail "something is left behind: $(ls "$room")"
finish
