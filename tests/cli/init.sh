# init: what is given is stated. init --device cuda: the first of its choices that fits, by the numbers that plan says;
# what does not fit says how many layers do; the recipe trains.
. tests/lib/check.sh

run init --flavor gqa-debug --training.steps=7 --optimizer.lr=1e-3
expect 0 "init with options"
says "^steps = 7$" "init with options"
says "^lr = 0.001$" "init with options"
says "^#device = \"auto\"$" "init without a device"
run init --flavor gqa-debug --device cpu
expect 0 "init --device cpu"
says "^device = \"cpu\"$" "init --device cpu"

run init --model.flavor=gqa-debug
expect 0 "init --model.flavor"
says '^flavor = "gqa-debug"$' "init --model.flavor"

# Whether GiB, with one decimal, are those that plan says of the config in $room/config.toml with these options, which it
# says with two: 1.55 may be 1.5 and 1.6.
planned() {
    gib_said=$1
    shift
    "$BIN" plan "$room/config.toml" "$@" >"$room/plan" || fail "plan $*"
    awk -v said="$gib_said" '$1 == "in" && $2 == "all" { gib = $4 == "MiB" ? $3 / 1024 : $3; d = said - gib }
        END { exit !(gib > 0 && d <= 0.0551 && d >= -0.0551) }' "$room/plan"
}
for memory in 9 2.2 1.8 1.5; do
    run init --flavor gqa-debug --device cuda --memory $memory
    expect 0 "init --memory $memory"
    cp "$room/out" "$room/config.toml"
    says "^# For one GPU: the GPU of --memory has $memory.* GiB, 1.0 of it the driver's" "init --memory $memory"
    says '^class = "sm90"$' "init --memory $memory"
    says '^device = "cuda"$' "init --memory $memory"
    for key in lanes expert_lanes; do says "^$key = 1$" "init --memory $memory"; done
    cell=$(sed -n 's/^cell = //p' "$room/out")
    same "$cell" "$(sed -n 's/^local_batch_size = //p' "$room/out")" "init --memory $memory: a cell is a pass"
    # Each number is plan's; the last alone fits.
    sed -n 's/^# *\([0-9.]*\) GiB  recompute \([a-z]*\) *\([0-9]*\) sequences.*/\1 \2 \3/p' "$room/out" >"$room/tried"
    [ -s "$room/tried" ] || fail "init --memory $memory: no numbers"
    tail -n 1 "$room/tried" >"$room/last"
    read -r gib mode batch <"$room/last"
    same "$batch $mode" "$cell $(sed -n 's/^mode = "\(.*\)"/\1/p' "$room/out")" "init --memory $memory: the last number is the config's"
    while read -r gib mode batch; do
        planned "$gib" --activation_checkpoint.mode="$mode" --training.local_batch_size="$batch" --numerics.cell="$batch" ||
            fail "init --memory $memory: recompute $mode, $batch at a time: $gib, and plan says $(tail -n 1 "$room/plan")"
    done <"$room/tried"
    awk -v most="$memory" 'NR > 1 && last < most - 1.05 { exit 1 } { last = $1 } END { exit last > most - 0.95 }' "$room/tried" ||
        fail "init --memory $memory: not the first that fits: $(cat "$room/tried")"
    echo "$cell $mode" >>"$room/choices"
done
[ "$(sort -u "$room/choices" | wc -l)" -ge 3 ] || fail "the memory chooses nothing: $(cat "$room/choices")"

run init --flavor gqa-debug --device cuda --memory 2.2 --activation_checkpoint.mode=full --training.local_batch_size=2
expect 0 "init: what is given stays"
says '^mode = "full"$' "init: what is given stays"
says '^local_batch_size = 2$' "init: what is given stays"
says '^cell = 2$' "init: what is given stays"
run init --flavor gqa-debug --device cuda --memory 9 --training.local_batch_size=3 --numerics.lanes=2
expect 0 "init: a batch that divides nothing"
says '^local_batch_size = 3$' "init: a batch that divides nothing"
says '^cell = 2$' "init: a batch that divides nothing"

# Layers that fit do, one more does not.
run init --flavor dsv3-16b --device cuda --memory 139.8
expect 2 "init of what does not fit"
says "27 layers need [0-9.]+ GiB with 1 at a time and recompute full, and the GPU of --memory has 139.8" "init of what does not fit"
layers=$(sed -n 's/.*--model.n_layers=\([0-9]*\) needs.*/\1/p' "$room/out")
[ -n "$layers" ] || fail "init of what does not fit says nothing that does"
run init --flavor dsv3-16b --device cuda --memory 139.8 --model.n_layers="$layers"
expect 0 "init of $layers layers"
says "^n_layers = $layers$" "init of $layers layers"
run init --flavor dsv3-16b --device cuda --memory 139.8 --model.n_layers=$((layers + 1))
expect 2 "init of $((layers + 1)) layers"
run init --flavor dsv3-671b --device cuda --memory 139.8
expect 2 "init of what never fits"
says "fewer layers do not fit either" "init of what never fits"

# It trains, here by emulation.
run init --flavor micro_gqa --device cuda --memory 100 --training.dataset_path=tests/data/prose.jsonl
expect 0 "init of micro_gqa"
cp "$room/out" "$room/config.toml"
run train "$room/config.toml" --run.device=cpu --training.steps=1 --run.dir="$room/run"
expect 0 "train what init wrote"

for words in "--device auto" "--device guarded" "--device gpu" "--device cuda:99" "--device" "--memory 4" "--device cpu --memory 4" \
    "--device cuda --memory 0" "--device cuda --memory -1" "--device cuda --memory 4x" "--device cuda --memory nan" \
    "--device cuda --memory" "--device cuda --numerics.class=x86" "--device cuda --training.steps=x" "--device cuda more"; do
    # shellcheck disable=SC2086
    run init --flavor gqa-debug $words
    expect 2 "init $words"
done
run init --device cuda
expect 2 "init --device cuda of no model"
says "no model is stated" "init --device cuda of no model"
finish
