# A run's folder: how many checkpoints stay, damaged ones, changed data, another recipe, who may train there.
. tests/lib/check.sh
steps="--training.steps=6 --checkpoint.interval=1"

train whole $steps --checkpoint.keep_latest_k=0
want=$(digest)
same "$(ls "$room/whole/checkpoints" | wc -l)" 6 "keep_latest_k=0 keeps all"

# A folder of one letter is one that was given.
case $BIN in /*) bin=$BIN ;; *) bin=$PWD/$BIN ;; esac
(cd "$room" && "$bin" train "$OLDPWD/$config" --training.dataset_path="$OLDPWD/tests/data/prose.jsonl" --run.dir=r \
    --training.steps=1 >out 2>&1) || fail "run.dir=r: exit $?"
[ -s "$room/r/metrics.jsonl" ] && [ ! -e "$room/runs" ] || fail "run.dir=r: the run is elsewhere"

# keep_latest_k
train two $steps --checkpoint.keep_latest_k=2
same "$(ls -A "$room/two/checkpoints" | tr '\n' ' ')" "step-00000005 step-00000006 " "keep_latest_k=2"
same "$(digest)" "$want" "keep_latest_k=2: digest"

# The newest checkpoint is damaged in any of its files: named, skipped, and made again.
for file in model-00001-of-00001.safetensors optimizer/adam_v-00001-of-00001.safetensors switchyard.json config.json; do
    copy_until whole hurt 5
    flip_byte "$(checkpoint hurt 5)/$file" 333
    run inspect "$(checkpoint hurt 5)"
    expect 3 "inspect of a damaged $file"
    says "${file##*/}" "inspect of a damaged $file"
    train hurt $steps --checkpoint.keep_latest_k=0
    expect 0 "damaged $file"
    says "^warning: checkpoint of step 5 skipped: .*${file##*/}" "damaged $file"
    says "resumed from .*step-00000004 at step 4" "damaged $file"
    same "$(digest)" "$want" "damaged $file: digest"
    diff -r "$room/whole/checkpoints" "$room/hurt/checkpoints" || fail "damaged $file: checkpoints"
done
copy_until whole hurt 5
rm "$(checkpoint hurt 5)/model-00001-of-00001.safetensors"
: >"$(checkpoint hurt 4)/switchyard.json"
truncate -s 1000 "$(checkpoint hurt 3)/optimizer/adam_m-00001-of-00001.safetensors"
train hurt $steps
expect 0 "three damaged checkpoints"
same "$(grep -c '^warning: checkpoint of step [345] skipped' "$room/out")" 3 "three damaged checkpoints are named"
says "resumed from .*step-00000002 at step 2" "three damaged checkpoints"
same "$(digest)" "$want" "three damaged checkpoints: digest"

# None is whole: nothing is thrown away in silence.
copy_until whole hurt 1
flip_byte "$(checkpoint hurt 1)/model-00001-of-00001.safetensors" 5000
train hurt $steps
expect 3 "no whole checkpoint"
says "none of 1 checkpoints is whole" "no whole checkpoint"

# A half-written folder of a process that died is never read.
copy_until whole hurt 3
cp -R "$(checkpoint hurt 3)" "$room/hurt/checkpoints/.tmp-step-00000004"
rm "$room/hurt/checkpoints/.tmp-step-00000004/switchyard.json"
train hurt $steps
same "$(digest)" "$want" "a folder that was being written"
ls -d "$room"/hurt/checkpoints/.tmp-* 2>/dev/null && fail "the leftovers stay"

# The data changed, vanished, grew.
cp tests/data/prose.jsonl "$room/data.jsonl"
train data $steps --checkpoint.keep_latest_k=0 --training.dataset_path="$room/data.jsonl"
same "$(digest)" "$want" "the same data in another place"
copy_until data moved 3
cp "$room/data.jsonl" "$room/elsewhere.jsonl"
train moved $steps --training.dataset_path="$room/elsewhere.jsonl"
same "$(digest)" "$want" "data that moved between start and resume"
echo '{"text":"one line more"}' >>"$room/data.jsonl"
copy_until data changed 3
train changed $steps --training.dataset_path="$room/data.jsonl"
expect 3 "a changed data file"
says "data.jsonl: the data file changed since the run began" "a changed data file"
rm "$room/data.jsonl"
train changed $steps --training.dataset_path="$room/data.jsonl"
[ $code -eq 1 ] || [ $code -eq 3 ] || fail "a data file that is gone: exit $code"
says "data.jsonl" "a data file that is gone"

# Another recipe is refused, unless asked for; then the chain is kept.
for change in numerics.lanes=4 numerics.expert_lanes=2 numerics.class=fp32 training.seq_len=16 numerics.combine_groups=2; do
    copy_until whole recipe 3
    train recipe $steps "--$change"
    expect 2 "$change"
    says "${change%%=*}|${change#*.}|$(echo "$change" | sed 's/.*\.\(.*\)=.*/\1/')" "$change: named"
    says "checkpoint.new_recipe" "$change: what to do"
done
was=$(sed -n 's/.*"recipe_id": "\(.*\)",/\1/p' "$(checkpoint whole 3)/switchyard.json")
train recipe $steps --numerics.lanes=4 --checkpoint.new_recipe=true
expect 0 "new_recipe"
says "^warning: new recipe [0-9a-f]{32} from step 3 on; it was $was" "new_recipe is logged"
grep -A 2 '"former_recipes"' "$(checkpoint recipe 6)/switchyard.json" | grep -q "$was" || fail "new_recipe: the chain is not kept"
train recipe $steps --numerics.lanes=4
expect 0 "goes on with the new recipe"

# run.fresh
train whole $steps --run.fresh
expect 2 "run.fresh"
says "run.fresh" "run.fresh"
train fresh --training.steps=1 --run.fresh
expect 0 "run.fresh in a new folder"

# Two processes in one folder.
"$BIN" train $config --run.dir="$room/shared" --training.steps=100000 >"$room/first" 2>&1 &
pid=$!
wait_for "$room/shared/metrics.jsonl" '"step":1,'
train shared --training.steps=2
expect 1 "a second process"
says "another process is training there" "a second process"
kill -TERM $pid
code=0
wait $pid || code=$?
expect 143 "the first process"

# Nothing to do.
train none --training.steps=0
expect 0 "training.steps=0"
says "^digest of step 0: [0-9a-f]{32}$" "training.steps=0"
train none --training.steps=6
same "$(digest)" "$want" "six steps after none"

# An empty path, as an unset variable of a shell leaves it, is as if it were not given.
here=$(pwd)
mkdir "$room/cwd"
BIN=$(cd "$(dirname "$BIN")" && pwd)/${BIN##*/}
sed "s:tests/data:$here/&:" "$config" >"$room/cwd/mine.toml"
cd "$room/cwd" || exit 1
for empty in --run.dir= "--run.dir= --moe.routes_out= --moe.routes_in= --tokenizer.path= --training.dataset_path="; do
    # shellcheck disable=SC2086
    run train mine.toml $empty --training.steps=1 --run.threads=1
    expect 0 "$empty"
    says "^run runs/mine$" "$empty"
    [ -e runs/mine/config.toml ] || fail "$empty: no runs/mine/config.toml"
    rm -rf runs
done
run train mine.toml --run.dir '' --training.steps=1
says "^run runs/mine$" "--run.dir ''"
cd "$here" || exit 1

# Folders that cannot be.
: >"$room/file"
run train $config --run.dir="$room/file/run" --training.steps=1
expect 1 "run.dir below a file"
says "$room/file" "run.dir below a file"
finish
