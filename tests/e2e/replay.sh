# switchyard replay: a step of a run done again has its bits, in any layout and from any checkpoint; a bit that flipped in
# memory is found, in the step where it did; nothing is written to the run; what changes bits is refused.
. tests/lib/check.sh

replay() { # RUN STEP [option...]
    dir=$room/$1 step=$2
    shift 2
    run replay "$dir" --step "$step" "$@"
}
train good --training.steps=8 --checkpoint.interval=3
expect 0 "8 steps"
ls -lR "$room/good" >"$room/before"
for step in 1 3 4 8; do
    replay good $step
    expect 0 "step $step"
    says "^step $step: the digest agrees\$" "step $step"
    same "$(grep -c ' same$' "$room/out")" $(((step - 1) % 3 + 1)) "steps done for step $step"
done
replay good 5 --run.threads=3 --training.local_batch_size=3 --activation_checkpoint.mode=full --run.tier=ref
expect 0 "another layout"
replay good 5 --run.ranks=4 --parallelism.expert_parallel_degree=2
expect 0 "four ranks"
replay good 5 --run.ranks=4 --parallelism.pipeline_parallel_degree=2 \
    --parallelism.pipeline_parallel_schedule=InterleavedZeroBubble --training.local_batch_size=2
expect 0 "stages"
replay good 5 --run.ranks=9
expect 2 "more ranks than lanes"
replay good 5 --run.device=guarded
expect 0 "another device"
ls -lR "$room/good" | diff "$room/before" - || fail "replay wrote to the run"

# Damaged checkpoints are passed over; without any the initial values are the beginning.
cp -R "$room/good" "$room/damaged"
flip_byte "$(checkpoint damaged 3)/model-00001-of-00001.safetensors" 90000
replay damaged 5
expect 0 "a damaged checkpoint"
says "^warning: checkpoint of step 3 skipped" "a damaged checkpoint"
says "^no checkpoint before step 5: from the initial values\$" "a damaged checkpoint"
rm -rf "$room/damaged/checkpoints"
replay damaged 4
expect 0 "no checkpoints"

# A bit of one weight, too small to show in loss or norm of its step.
train flipped --training.steps=8 --checkpoint.interval=3 --debug.break=flip_at_step_5
expect 0 "a run with a flipped bit"
differ "$(history good | sed -n 5p)" "$(history flipped | sed -n 5p)" "step 5"
for step in 5 6; do
    replay flipped $step
    expect 1 "step $step after a flipped bit"
    says '^step 5 .* DIFFERENT$' "step $step after a flipped bit"
    says '^switchyard: step 5 of .* cannot be repeated' "step $step after a flipped bit"
done
replay flipped 6 --run.ranks=2 --parallelism.pipeline_parallel_degree=2
expect 1 "a flipped bit, over stages"
says '^step 5 .* DIFFERENT$' "a flipped bit, over stages"
for step in 4 7; do
    replay flipped $step
    expect 0 "step $step beside a flipped bit"
done
# A line of metrics that was changed.
cp -R "$room/good" "$room/edited"
sed -i '/"step":7,/s/"loss_bits":"40/"loss_bits":"41/' "$room/edited/metrics.jsonl"
replay edited 8
expect 1 "an edited line"
says '^  loss  ' "an edited line"
says '^switchyard: step 7 ' "an edited line"

# A run that went on with another learning rate: each part with its own.
copy_until good rate 6
train rate --training.steps=10 --checkpoint.interval=3 --optimizer.lr=1e-3 --lr_scheduler.warmup_steps=2
for step in 5 8 10; do
    replay rate $step
    expect 0 "step $step of a run with two rates"
done

# What is refused.
replay good 9
expect 2 "a step that is not there"
says 'has steps 1 to 8$' "a step that is not there"
cp -R "$room/good" "$room/hole"
sed -i '/"kind":"train","step":4,/d' "$room/hole/metrics.jsonl"
replay hole 4
expect 2 "a step whose line is gone"
says 'has steps 1 to 8, but no line of this one$' "a step whose line is gone"
replay good 0
expect 2 "step 0"
replay good x
expect 2 "no number"
replay good 5 --optimizer.lr=0.5
expect 2 "another rate"
says 'optimizer.lr = 0.5: the run has' "another rate"
replay good 5 --model.dim=64
expect 2 "another model"
replay good 5 --numerics.lanes=4
expect 2 "another recipe"
run replay "$room/none" --step 1
expect 1 "no run"
run replay --step 1
expect 2 "no argument"
cp -R "$room/good" "$room/empty"
: >"$room/empty/metrics.jsonl"
replay empty 1
expect 2 "no steps"
finish
