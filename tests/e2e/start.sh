# A run begins with another's weights: the model comes along or is refused with both values, layouts agree, what it began
# with is in its checkpoints, and a resume takes no notice of it.
. tests/lib/check.sh

train source --training.steps=4 --checkpoint.interval=2
expect 0 "the source"
source_digest=$(digest)
cat >"$room/from.toml" <<E
[training]
dataset_path = ["tests/data/prose.jsonl"]
seq_len = 32
global_batch_size = 16
steps = 6
[lr_scheduler]
warmup_steps = 2
[checkpoint]
initial_load_path = "$room/source"
interval = 3
E
from() { # RUN [option...]
    dir=$room/$1
    shift
    run train "$room/from.toml" --run.dir="$dir" --run.threads=2 "$@"
}

# Nothing of the model is stated; the newest checkpoint of the run is what it begins with.
from one
expect 0 "from a run"
says "begins with the weights of $room/source/checkpoints/step-00000004, weights digest $source_digest" "what it begins with"
one=$(digest)
manifest=$(checkpoint one 6)/switchyard.json
record=$(grep -A 3 '"initial"' "$manifest" | tr -d ' \n')
same "$record" "\"initial\":{\"path\":\"$(checkpoint source 4)\",\"weights_digest\":\"$source_digest\",\"model_only\":true" \
    "the manifest's record"
from two --run.ranks=3 --training.local_batch_size=2 --run.tier=ref
same "$(digest)" "$one" "over three ranks"
from three --run.ranks=2 --parallelism.expert_parallel_degree=2 --checkpoint.initial_load_path="$(checkpoint source 4)"
same "$(digest)" "$one" "over experts' ranks, from the checkpoint itself"
from four --checkpoint.initial_load_path="$(checkpoint source 2)"
differ "$(digest)" "$one" "from another checkpoint"
run verify "$room/from.toml" --steps 1 --layouts 3
expect 0 "verify"
run plan "$room/from.toml"
expect 0 "plan"
run replay "$room/one" --step 3
expect 0 "replay of its first steps"

# It goes on from its own checkpoint, wherever the source is by then; the record stays.
copy_until one resumed 3
mv "$room/source" "$room/moved"
from resumed
expect 0 "a resume without the source"
same "$(digest)" "$one" "a resume"
says "initial_load_path is not read: the run goes on from $(checkpoint resumed 3); it began with $(checkpoint source 4)" "a resume says so"
grep -q "$source_digest" "$(checkpoint resumed 6)/switchyard.json" || fail "the record of a resumed run"
mv "$room/moved" "$room/source"

# The optimizer, too.
from all --checkpoint.no-initial_load_model_only
says "begins with weights and optimizer of" "weights and optimizer"
all=$(digest)
differ "$all" "$one" "moments matter"
from all3 --checkpoint.no-initial_load_model_only --run.ranks=3
same "$(digest)" "$all" "moments over three ranks"

# What is refused, with both values.
from refused --model.dim=48 --moe.num_experts=4
expect 2 "another model"
says "model.dim = 48: $(checkpoint source 4) has 32" "another width"
says "moe.num_experts = 4: $(checkpoint source 4) has 8" "another number of experts"
from refused --model.vocab_size=300
says "model.vocab_size = 300: .* has [0-9]+" "another vocabulary"
"$BIN" tokenizer train tests/data/prose.jsonl --vocab-size 270 --out "$room/tok" >"$room/out" 2>&1
from refused --tokenizer.path="$room/tok"
expect 2 "another tokenizer"
says "tokenizer.path = \"$room/tok\": another tokenizer: its hash is [0-9a-f]{32}, that of .* is byte" "another tokenizer: both hashes"
from warned --model.rope_theta=20000 --training.steps=1
expect 0 "another rope_theta"
says "warning: model.rope_theta is 10000.0 in .*, here 20000.0" "another rope_theta is said"
from refused --checkpoint.initial_load_path="$room/nothing"
expect 1 "no source"
says "checkpoint.initial_load_path: .*nothing: there is no such file or folder" "no source"
from refused --checkpoint.initial_load_path=tests/data
expect 2 "a folder of something else"
cp -R "$(checkpoint source 4)" "$room/theirs"
rm -r "$room/theirs/switchyard.json" "$room/theirs/optimizer"
from refused --checkpoint.initial_load_path="$room/theirs" --checkpoint.no-initial_load_model_only
expect 2 "no moments there"
says "initial_load_model_only = false: .*theirs is no checkpoint of ours" "no moments there"
[ ! -e "$room/refused" ] || fail "a refused start leaves a folder"
from theirs --checkpoint.initial_load_path="$room/theirs"
says "begins with the weights of $room/theirs, weights digest $source_digest" "weights without a manifest"
same "$(digest)" "$one" "from weights without a manifest"
flip_byte "$(checkpoint source 4)/model-00001-of-00001.safetensors" 9000
from damaged --checkpoint.initial_load_path="$(checkpoint source 4)"
expect 3 "a damaged source"
finish
