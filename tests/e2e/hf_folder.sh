# Folders that transformers wrote (tools/make_hf_folders.py): logits, nats of texts and chosen answers are those of
# transformers; a run begins with them, 20 steps in two layouts; what their class has and we lack is refused by name.
. tests/lib/check.sh

fp32="--numerics.class=fp32 --training.seq_len=64"
for folder in tests/data/hf_*; do
    # Logits within 1e-5 of the largest, which is below 8.
    run logits "$folder" --compare "$folder/theirs.safetensors" --json $fp32
    expect 0 "$folder: logits"
    far=$(sed -n 's/.*"max_difference":\([^,]*\),.*/\1/p' "$room/out")
    awk -v far="${far:-1}" 'BEGIN { exit !(far > 0 && far < 8e-5) }' || fail "$folder: logits differ by $far"
    says '"sequences":2,"tokens":17,.*"top1_agreement":1.0' "$folder: first choices"
    # Nats of each text: 1e-5 a token; of all texts together 1e-6.
    for how in nats stride16; do
        set -- $fp32
        [ $how = nats ] || set -- "$@" --stride 16
        run eval "$folder" --data "$folder/texts.jsonl" --json "$@"
        expect 0 "$folder: eval"
        sed -n 's/.*"document":.*"tokens":\([0-9]*\),"nats":\([0-9.]*\)}/\1 \2/p' "$room/out" | paste -d ' ' - "$folder/texts.$how" |
            awk '{ d = $2 - $3; n += $1; all += d; d = d < 0 ? -d : d; if (d > 1e-5 * $1) bad++ }
                 END { all = all < 0 ? -all : all; exit !(NR == 3 && bad == 0 && all < 1e-6 * n) }' || fail "$folder: $how differ"
    done
    cmp -s "$folder/texts.nats" "$folder/texts.stride16" && fail "$folder: a stride changes nothing"
    # The answers by sum, characters, bytes and tokens.
    run eval "$folder" --multiple-choice "$folder/quiz.jsonl" --json $fp32
    expect 0 "$folder: questions"
    sed -n 's/.*"chosen":{"acc":\([0-9]*\),"acc_norm":\([0-9]*\),"acc_bytes":\([0-9]*\),"acc_tokens":\([0-9]*\)}.*/\1 \2 \3 \4/p' \
        "$room/out" | cmp - "$folder/quiz.chosen" || fail "$folder: other answers"
    # A run of 20 steps, in two layouts.
    for ranks in 1 3; do
        cat >"$room/from.toml" <<E
[training]
dataset_path = ["tests/data/prose.jsonl"]
seq_len = 32
global_batch_size = 8
steps = 20
[checkpoint]
initial_load_path = "$folder"
E
        run train "$room/from.toml" --run.dir="$room/${folder##*/}$ranks" --run.ranks=$ranks --run.threads=2
        expect 0 "$folder: train, $ranks ranks"
        eval "digest$ranks=\$(digest)"
    done
    same "$digest1" "$digest3" "$folder: 20 steps"
    [ -n "$digest1" ] || fail "$folder: no digest"
done

# What a config of such a class may ask for and is not computed.
refused() { # CLASS KEY VALUE PATTERN
    rm -rf "$room/asks"
    cp -R "tests/data/hf_$1" "$room/asks"
    sed -i "/^  \"$2\":/d; s/^{\$/{\n  \"$2\": $3,/" "$room/asks/config.json"
    run eval "$room/asks" --data tests/data/prose.jsonl
    expect 3 "$1: $2 = $3"
    says "$4" "$1: $2 = $3"
}
refused qwen2_moe tie_word_embeddings true 'tensor "lm_head.weight" is not "model.embed_tokens.weight", but config.json has tie_word_embeddings = true'
refused qwen2_moe use_sliding_window true 'use_sliding_window = true is not supported, only false is'
refused qwen2_moe shared_expert_intermediate_size 12 'shared_expert_intermediate_size = 12 is not supported, only multiples of moe_intermediate_size = 8 are'
refused deepseek_v3 attention_bias true 'tensor "model.layers.0.self_attn.kv_a_proj_with_mqa.bias" is in none of the files'
refused qwen2_moe attention_bias true 'attention_bias = true is not supported, only false is'
refused deepseek_v3 tie_word_embeddings true 'tensor "lm_head.weight" is not "model.embed_tokens.weight", but config.json has tie_word_embeddings = true'
for class in GptOss Qwen3Next; do
    rm -rf "$room/asks"
    cp -R tests/data/hf_qwen2_moe "$room/asks"
    sed -i "s/Qwen2MoeForCausalLM/${class}ForCausalLM/" "$room/asks/config.json"
    run train "$room/from.toml" --checkpoint.initial_load_path="$room/asks" --run.dir="$room/no"
    expect 3 "$class"
    says "initial_load_path: .*architecture \"${class}ForCausalLM\" is not one of" "$class"
done
finish
