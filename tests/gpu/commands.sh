# What the commands say of a GPU: info its driver and rates, bench a time for every op and the tiles of every product, init a
# recipe for its memory that trains.
. tests/lib/check.sh

run info
expect 0 "info"
says "^ +cuda:0 NVIDIA .*GiB" "info"
says "^ +driver ([0-9.]+ )?for CUDA [0-9]" "info"
says "^ +measured: copies of 1 GB [0-9]+\.[0-9]+ TB/s, product of 8192\^3 [1-9][0-9]+ TFLOP/s" "info"

for what in gemm attention ops; do
    run bench $what --device cuda --json
    expect 0 "bench $what --device cuda"
    cp "$room/out" "$room/$what"
    grep -q '"share":\(nan\|inf\|0}\|-\)' "$room/$what" && fail "bench $what: shares: $(grep '"share":\(nan\|inf\|0}\|-\)' "$room/$what")"
done
rows() { sed -n 's/.*"op":"\([a-z0-9_]*\)".*/\1/p' "$room/$1" | sort -u; }
same "$(rows gemm | tr '\n' ' ')" "linear linear_dw linear_dx " "bench gemm: ops"
same "$(rows attention | tr '\n' ' ')" "attention_bwd attention_fwd " "bench attention: ops"
[ "$(rows ops | wc -l)" -ge 38 ] || fail "bench ops has $(rows ops | wc -l) ops"
awk -F'"share":' '/"op":"copy"/ { n++; bad += $2 < 0.8 || $2 > 1.25 } END { exit n != 1 || bad }' "$room/ops" ||
    fail "bench ops: a copy is not the copy that shares are of: $(grep '"op":"copy"' "$room/ops")"
run bench ops norm cast --device cuda:0
expect 0 "bench ops norm cast"
same "$(awk 'NR > 2 { print $1 }' "$room/out" | tr '\n' ' ')" "norm cast " "bench ops norm cast"

# Every product of a step, each once, with a time for each tile that it has; rows as the table has them.
run bench tune gqa-debug --training.seq_len=64 --tiles "$room/tiles.def"
expect 0 "bench tune"
for product in nt nt_f32 nt_add nt_swiglu nn nn_swiglu_back tn_leaf list_leaf; do
    grep -Eq "^$product +[0-9]+ x [0-9]+ x [0-9]+ +[0-9]+ +[0-9]+\.[0-9] / [0-9]+ +[0-9]+\.[0-9] / [0-9]+ " "$room/out" ||
        fail "bench tune: $product has no row: $(cat "$room/out")"
done
same "$(awk '/ x / { print $1, $2, $4, $6, $7 }' "$room/out" | sort | uniq -d)" "" "bench tune: a shape twice"
said=$(sed -n 's/^\([0-9]*\) rows in .*/\1/p' "$room/out")
same "$(grep -Ec '^X\([0-9]+, [a-z0-9_]+(, [0-9]+){4}, (256|128|64), (8|16|32|64)\)$' "$room/tiles.def")" "$said" "bench tune: rows"

run init --flavor gqa-debug --device cuda --training.dataset_path=tests/data/prose.jsonl
expect 0 "init --device cuda"
says "^# For one GPU: NVIDIA .* has [0-9.]+ GiB" "init --device cuda"
cp "$room/out" "$room/config.toml"
run train "$room/config.toml" --training.steps=2 --run.dir="$room/run"
expect 0 "train what init wrote"
finish
