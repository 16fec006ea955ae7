# Tied embeddings: one tensor from start to end. Layouts and a resume agree, the folder has no head, what is tied goes
# on tied and is refused elsewhere with both values, and the commands that read a model read this one.
. tests/lib/check.sh

tie=--model.tie_word_embeddings
train one $tie --training.steps=6 --checkpoint.interval=3 --training.max_norm=0.5
expect 0 "one rank"
one=$(history one)
[ "$(echo "$one" | wc -l)" -eq 6 ] || fail "no 6 steps"
several() { # NAME [option...]
    name=$1
    shift
    train "$name" $tie --training.steps=6 --checkpoint.interval=3 --training.max_norm=0.5 "$@"
    expect 0 "$name"
    same "$(history "$name")" "$one" "$name"
    cmp -s "$(checkpoint one 6)/model-00001-of-00001.safetensors" "$(checkpoint "$name" 6)/model-00001-of-00001.safetensors" ||
        fail "$name: another file of weights"
    cmp -s "$(checkpoint one 6)/optimizer/adam_v-00001-of-00001.safetensors" \
        "$(checkpoint "$name" 6)/optimizer/adam_v-00001-of-00001.safetensors" || fail "$name: another file of moments"
}
several three --run.ranks=3 --training.local_batch_size=1
several experts --run.ranks=4 --parallelism.expert_parallel_degree=4 --activation_checkpoint.mode=full
several hybrid --run.ranks=4 --parallelism.data_parallel_replicate_degree=2 --parallelism.data_parallel_shard_degree=2
several stages --run.ranks=2 --parallelism.pipeline_parallel_degree=2 --run.device=guarded
several shards --run.ranks=8 --parallelism.pipeline_parallel_degree=2 --parallelism.data_parallel_shard_degree=2 \
    --parallelism.data_parallel_replicate_degree=2 --parallelism.pipeline_parallel_schedule=GPipe
copy_until one resumed 3
train resumed $tie --training.steps=6 --training.max_norm=0.5 --run.ranks=4 --parallelism.pipeline_parallel_degree=2
same "$(history resumed | tail -n 3)" "$(echo "$one" | tail -n 3)" "a resume, in stages"
train untied --training.steps=6
differ "$(history untied)" "$one" "untied"

# The folder: one tensor, and config.json says so.
ckpt=$(checkpoint one 6)
grep -q '"tie_word_embeddings": true' "$ckpt/config.json" || fail "config.json"
! grep -q 'lm_head' "$ckpt/model.safetensors.index.json" || fail "the index has a head"
! grep -aq 'lm_head' "$ckpt/model-00001-of-00001.safetensors" || fail "the weights have a head"
run inspect "$ckpt"
expect 0 "inspect"
count() { sed -n 's/^parameters *\([0-9]*\),.*/\1/p' "$room/out"; }
tied=$(count)
run inspect "$(checkpoint untied 6)"
untied=$(count)
same "$((${untied:-0} - ${tied:-0}))" $((272 * 32)) "inspect counts the weight once"

# A folder for sharing: the checkpoint's logits, texts and nats.
run convert "$ckpt" "$room/theirs" --dtype fp32
expect 0 "convert"
short="--numerics.class=fp32 --training.seq_len=32"
head -n 3 tests/data/prose.jsonl >"$room/three.jsonl"
run logits "$ckpt" --data "$room/three.jsonl" --compare "$room/theirs" --json $short
expect 0 "logits"
says '"max_difference":0.0' "logits of both"
for folder in "$ckpt" "$room/theirs"; do
    "$BIN" eval "$folder" --data "$room/three.jsonl" --json $short >"$room/eval.${folder##*/}" 2>/dev/null || fail "eval $folder"
    "$BIN" generate "$folder" --prompt Rain --max-tokens 12 --temperature 0 $short >"$room/text.${folder##*/}" 2>/dev/null ||
        fail "generate $folder"
done
cmp "$room/eval.step-00000006" "$room/eval.theirs" || fail "other nats"
cmp "$room/text.step-00000006" "$room/text.theirs" || fail "another text"

# It is what a run begins with, tied; elsewhere it is refused with both values, and so is the reverse.
train from $tie --training.steps=2 --checkpoint.initial_load_path="$ckpt"
expect 0 "tied from tied"
from=$(history from)
rm -r "$room/theirs/switchyard.json" 2>/dev/null
train from2 --training.steps=2 --checkpoint.initial_load_path="$room/theirs" --run.ranks=2 --parallelism.pipeline_parallel_degree=2
expect 0 "tied, not stated, from a Hugging Face folder"
same "$(history from2)" "$from" "from a Hugging Face folder, in stages"
train no --model.no-tie_word_embeddings --training.steps=2 --checkpoint.initial_load_path="$ckpt"
expect 2 "untied from tied"
says "model.tie_word_embeddings = false: .* has true" "untied from tied"
train no $tie --training.steps=2 --checkpoint.initial_load_path="$(checkpoint untied 6)"
expect 2 "tied from untied"
says "model.tie_word_embeddings = true: .* has false" "tied from untied"
finish
