# A GPU that fails in a step: exit 1 and what CUDA says, no checkpoint of that step, and the next start goes on from the last
# one with the bits of a run that was not disturbed.
. tests/lib/check.sh
gpu="--run.device=cuda --numerics.class=sm90 --training.steps=6 --checkpoint.interval=2"
# shellcheck disable=SC2086 # $gpu: several words
train whole $gpu
expect 0 "a run"
# shellcheck disable=SC2086
train lost $gpu --debug.break=gpu_lost_at_step_4
expect 1 "a GPU that is lost in step 4"
says 'cuda:0: .*(illegal memory access|unspecified launch failure)' "a GPU that is lost"
says 'step 3 could not be saved' "a GPU that is lost"
same "$(cd "$room/lost/checkpoints" && echo step-*)" step-00000002 "checkpoints of a GPU that was lost"
# shellcheck disable=SC2086
train lost $gpu --debug.break=
expect 0 "gone on after a GPU was lost"
same "$(history lost | tail -n 4)" "$(history whole | tail -n 4)" "gone on after a GPU was lost"

# The self-test's result is kept for this GPU, driver, build and class.
export XDG_CACHE_HOME="$room/cache"
# shellcheck disable=SC2086
train kept $gpu --checkpoint.enable=false
grep -q '^class sm90$' "$XDG_CACHE_HOME"/switchyard/selftest-GPU-* || fail "no self-test is kept"
finish
