# The commands that show equality: verify finds every planted bug, diff names where runs part, a stranger recomputes a digest.
. tests/lib/check.sh

run verify $config --steps 1 --layouts 12 --model.n_layers=8
expect 0 "verify"
says "^12 layouts, 1 steps: one digest" "verify"
says "^ *[2-8] +[24] +(GPipe|Interleaved).*  same$" "verify: stages"
says "^ *[2-8] +[124] +[A-Za-z0-9]+ +[2-8] +(padded|direct) +(2|all) .*  same$" "verify: experts and shards over ranks"
run verify configs/micro_mla.toml --steps 1 --layouts 12 --numerics.lanes=4 --numerics.expert_lanes=2 --numerics.cell=2
expect 0 "verify, P 4 F 2 W 2"

# Each planted bug is caught in a recipe that can show it; the two that reorder a lane group need one of several lanes.
run verify --break list
expect 0 "--break list"
names=$(sed -n 's/^\([a-z_]*\)  *[a-z].* [a-z].*; shows when .*/\1/p' "$room/out") # each says what it does
same "$(echo "$names" | wc -l)" "$(wc -l <"$room/out")" "--break list: a name and what it plants in every line"
same "$(echo "$names" | grep -c swap_sequences)" 1 "--break list names swap_sequences"
# Each with the value that differs first, both its bits, and the first tensor of the model: what is planted, where.
layer=model.layers.0.mlp
caught() { # NAME FIRST_VALUE TENSOR [option...]
    name=$1 value=$2 tensor=$3
    shift 3
    run verify $config --break "$name" "$@"
    expect 0 "--break $name"
    says "^  $value" "--break $name names the value"
    same "$(grep -cE '^    (-?[0-9]+|[0-9a-f]+  -?[0-9.e+-]+)$' "$room/out")" 2 "--break $name shows two numbers"
    says "^caught: $name; the first tensor of the model that differs: $tensor\$" "--break $name names the tensor"
    echo "$name" >>"$room/caught"
}
caught swap_sequences "gradient from lm_head.weight on: lane 0, after round 0, row" lm_head.weight
caught shuffle_lanes "gradient from model.layers.1.mlp.experts.0.gate_proj.weight on: lane 0, after round 0, row" \
    model.layers.1.mlp.experts.0.gate_proj.weight --numerics.expert_lanes=8
caught lanes_in_turn "gradient from lm_head.weight on: lanes 2 to 3, a node of the tree, row" lm_head.weight
caught experts_scaled "gradient of $layer.experts.0.gate_proj.weight, joined; all lanes" $layer.experts.0.gate_proj.weight
caught routes_twice "layer 0: routes of each expert, row" $layer.gate.e_score_correction_bias
caught bias_local "layer 0: routes of each expert, row" $layer.gate.e_score_correction_bias
caught clip_without_experts "the norm of the gradients, which are equal" model.embed_tokens.weight
caught stale_weights "layer 0: input, sequence 0 of the batch, row" lm_head.weight
caught place_lost "tokens, sequence 0 of the batch, row" lm_head.weight
caught ties_higher "layer 0: experts, sequence 0 of the batch, row" lm_head.weight
caught ranks_in_turn "gradient of model.layers.0.[a-z_]*layernorm.weight, joined; all lanes" model.layers.0.input_layernorm.weight
same "$(sort "$room/caught")" "$(echo "$names" | sort)" "each that --break list has is caught"
for name in stale_weights place_lost; do # in the second step
    run verify $config --break $name --steps 1
    expect 1 "--break $name in one step"
    says "the planted bug $name was not caught" "--break $name in one step"
    run verify $config --break $name
    says "^step 2[,:]" "--break $name names the step"
done
for options in "--break place_lost --only tier=auto" "--only tiers=auto" "--only ranks=5" "--only tier" "--only ranks=2 --only ep=8"; do
    run verify $config $options
    expect 2 "verify $options"
done
says "no layout of those that --only leaves is admissible" "nothing is left"
run verify $config --only ranks=5
says 'ranks has no value "5"; here it has 1, 2, 3, 4, 6, 8$' "a value that is none"
run verify $config --steps 1 --only ranks=2 --only tier=auto --only threads=1,2 --only ep=2
expect 0 "--only"
same "$(grep -c '^ *2 .* auto .*\(first\|same\)$' "$room/out")" "$(grep -c '  \(first\|same\)$' "$room/out")" "--only: these alone"
run verify $config --break no_such_bug
expect 2 "--break of an unknown name"

# diff
train a --training.steps=4 --checkpoint.interval=1
train b --training.steps=4 --checkpoint.interval=1 --run.threads=3 --training.local_batch_size=3
run diff "$room/a" "$room/b"
expect 0 "diff of equal runs"
train c --training.steps=4 --checkpoint.interval=1 --debug.seed=43
run diff "$room/a" "$room/c"
expect 1 "diff of different runs"
says "step 1" "diff names the step"
says "weight" "diff names a tensor"
cp -r "$room/a" "$room/torn" # a run under way: its last line has no end yet
printf '{"kind":"train","step":' >>"$room/torn/metrics.jsonl"
run diff "$room/a" "$room/torn"
expect 0 "diff with a run under way"
printf 'x\n' >>"$room/torn/metrics.jsonl"
run diff "$room/a" "$room/torn"
expect 3 "diff with damaged metrics"
says "metrics.jsonl:[0-9]*: not a JSON object" "diff names the damaged line"
run diff "$room/a" "$room/no such run"
[ $code -ge 1 ] && [ $code -le 3 ] || fail "diff with a run that is not there: exit $code"
says "no such run" "diff names what is not there"

# inspect
run inspect "$room/a"
expect 0 "inspect a run"
run inspect "$(checkpoint a 3)"
expect 0 "inspect a checkpoint"
run inspect "$(checkpoint a 3)/model-00001-of-00001.safetensors"
expect 0 "inspect a file"
says "embed" "inspect prints tensors"
run inspect "$room/nothing"
[ $code -eq 1 ] || [ $code -eq 3 ] || fail "inspect of nothing: exit $code"

# A stranger's digest.
if python3 -c 'import json' 2>/dev/null; then
    for step in 1 4; do
        python3 tools/recompute_digest.py "$(checkpoint a $step)" >"$room/out" 2>&1 || fail "recompute_digest: $(cat "$room/out")"
        says "$(history a | sed -n ${step}p | cut -d' ' -f4) as saved" "recomputed digest of step $step"
    done
fi
finish
