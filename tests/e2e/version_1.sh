# A checkpoint of format version 1, saved by an earlier program: inspected, sampled from, resumed, and found damaged.
. tests/lib/check.sh
config=tests/data/checkpoint_v1/run.toml
from=tests/data/checkpoint_v1/step-00000002
more="--training.steps=4 --checkpoint.new_recipe=true" # the numerics may have moved since

begin() { # RUN: a folder with the old checkpoint alone
    mkdir -p "$room/$1/checkpoints"
    cp -R $from "$room/$1/checkpoints/"
}

run inspect $from
expect 0 "inspect"
says "^format version  1$" "inspect"
says "every tensor's hash ok" "inspect"
run generate $from --prompt=A --max-tokens=2
expect 0 "generate"

begin old
train old $more
expect 0 "a resume"
says "resumed from .*step-00000002 at step 2" "a resume"
diff -r $from "$(checkpoint old 2)" || fail "a resume changed the old checkpoint"
run inspect "$room/old"
expect 0 "inspect of the new one"
says "^format version  2$" "inspect of the new one"
says "^step            4$" "inspect of the new one"
says "every tensor's digest ok" "inspect of the new one"

# Moments and weights are those that were saved: the run goes on from its own version 2 with the same bits.
want=$(history old | tail -n 1)
copy_until old half 3
train half $more
expect 0 "a resume of the resumed"
says "resumed from .*step-00000003 at step 3" "a resume of the resumed"
same "$(history half | tail -n 1)" "$want" "a resume of the resumed"

for file in config.json model-00001-of-00001.safetensors optimizer/adam_m-00001-of-00001.safetensors switchyard.json; do
    rm -rf "$room/hurt"
    begin hurt
    flip_byte "$(checkpoint hurt 2)/$file" 2000
    run inspect "$(checkpoint hurt 2)"
    expect 3 "inspect of a damaged $file"
    says "DAMAGED: .*${file##*/}" "inspect of a damaged $file"
    train hurt $more
    expect 3 "a resume from a damaged $file"
    says "none of 1 checkpoints is whole" "a resume from a damaged $file"
done
finish
