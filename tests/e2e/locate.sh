# diff --locate: the first value of a step in which two runs part, by what it is; nothing where a step can be repeated; the
# same in any layout.
. tests/lib/check.sh
config=configs/micro_mla.toml
keep="--training.steps=3 --checkpoint.interval=1"
two="--numerics.lanes=4 --numerics.cell=2"

train a $keep
train swapped $keep --debug.break=swap_sequences
train turns $keep --debug.break=lanes_in_turn
train faster $keep --optimizer.lr=1e-3
train cells $keep $two
train shuffled $keep $two --debug.break=shuffle_lanes --training.local_batch_size=3 --activation_checkpoint.mode=full
train other $keep --debug.seed=7
train straight $keep --data.shuffle=false
train weights $keep --data.shuffle=false --debug.seed=7

# locate A B WHAT PATTERN...: what is said, in this order.
locate() {
    run diff "$room/$1" "$room/$2" --locate
    expect 1 "$3"
    what=$3
    shift 3
    for pattern in "$@"; do
        says "$pattern" "$what"
    done
}
locate a swapped "swapped sequences" '^step 1 again: the first value that differs$' \
    '^  gradient from lm_head.weight on: lane 0, after round 0, row 0, column 0$' '^    [0-9a-f]{8}  '
locate a turns "lanes in turn" '^  gradient from lm_head.weight on: lanes 2 to 3, a node of the tree, row '
locate a faster "another lr" '^  model.embed_tokens.weight after the update; all before it is equal, row 0, column 0$'
locate cells shuffled "shuffled lanes, another layout" \
    '^  gradient from model.layers.1.mlp.experts.0.gate_proj.weight on: lane 0, after round 0, row [0-9]*, column '
locate a other "another order of data" '^  tokens, sequence 0 of the batch, row 0, column [0-9]+$' '^    [0-9]+$'
locate straight weights "other weights" '^  layer 0: input, sequence 0 of the batch, row 0, column 0$' '^    [0-9a-f]{4}  '

# A digest that no computation gives: as if a bit had flipped.
cp -R "$room/a" "$room/flipped"
sed -i '2s/"weights_digest":"./"weights_digest":"x/' "$room/flipped/metrics.jsonl"
locate a flipped "a flipped bit" '^step 2 again: [0-9]+ values are equal: what made it differ cannot be repeated$'

# Runs from before the first checkpoint, and without any.
rm -rf "$room"/a/checkpoints/* "$room"/turns/checkpoints/*
locate a turns "no checkpoints" '^  gradient from lm_head.weight on: lanes 2 to 3, a node of the tree, row '

run diff "$room/cells" "$room/cells" --locate
expect 0 "a run and itself"
run diff "$room"/cells/checkpoints/step-00000001 "$room"/cells/checkpoints/step-00000001 --locate
expect 2 "checkpoints"
says 'a step that can be done again .--locate. is a run' "checkpoints"
finish
