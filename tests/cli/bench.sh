# bench ops: a line for each op, class and tier. bench model: parts, counts and a digest that no layout changes;
# bench/paired.sh sees two programs that do other work.
. tests/lib/check.sh

run bench model "$config" --steps 2 --run.threads=2
expect 0 "bench model"
for part in "attention products" "weight gradients: experts" "gradient norm" "digest" "total"; do
    says "^  $part +[0-9]+\.[0-9]" "bench model: $part"
done
says "^a layer and batch: .* calls of ops, .* runs of the pool; a step: [1-9][0-9]* and [1-9]" "bench model: counts"
says "^  linear +[1-9][0-9]* +[0-9]+ +[0-9.]+ +[0-9.]+% +[0-9.]+ +[0-9.]+$" "bench model: op table"
says "^  digest +1 +1 +[0-9.]+ +[0-9.]+% " "bench model: what the price does is no op of the step"
says "^peak: copies of 64 MiB, [0-9.]+ GB/s" "bench model: the ceilings"
digest_of() { sed -n 's/^digest after 4 steps: //p; s/.*"weights_digest":"\([0-9a-f]*\)".*/\1/p' "$room/out"; }
first=$(digest_of)
[ ${#first} -eq 32 ] || fail "bench model: no digest"
for part in "padding of experts' leaves .*% of rows." "leaves that are cut" "folds beyond" "tree" "digest of the weights" "in all"; do
    says "^  $part.* [0-9]+\.[0-9][0-9] +[0-9.]+ %$" "bench model: the price of $part"
done
for layout in --run.threads=1 --training.local_batch_size=1 --activation_checkpoint.mode=full --run.tier=ref --run.ranks=3; do
    run bench model "$config" --steps 2 --json $layout
    expect 0 "bench model $layout"
    same "$(digest_of)" "$first" "bench model $layout"
done
run bench model "$config" --steps 2 --json --debug.seed=7
differ "$(digest_of)" "$first" "bench model with another seed"

run bench model micro_mla micro_gqa --steps 1 --json --training.seq_len=32
expect 0 "bench model of two flavors"
same "$(sed 's/.*"config":"\([^"]*\)".*/\1/' "$room/out" | tr '\n' ' ')" "micro_mla micro_gqa " "bench model of two flavors"

run bench model nothing.toml
expect 2 "bench model of no file"
says "nothing.toml: No such file" "bench model of no file"
for steps in none 3x 0 -1; do
    run bench model "$config" --steps $steps
    expect 2 "bench model --steps $steps"
done
run bench model "$config" --steps 2 --cpu
expect 0 "bench model --cpu"
says "ms of CPU, all threads" "bench model --cpu"
same "$(digest_of)" "$first" "bench model --cpu"
run bench gemm --cpu
expect 2 "bench gemm --cpu"
run bench moe --class x86 --tier auto --threads 1 --json
expect 0 "bench moe"
says '^\{"bench":"moe","class":"x86",.*"ratio":[0-9.]+\}$' "bench moe: moving rows"
says '^\{"bench":"layer","class":"x86",.*"ms":[0-9.]+,"gflops":[0-9.]+,"peak_gflops":[0-9.]+,"share":[0-9.]+\}$' "bench moe: a layer"
for threads in none 3x 2000 4294967297; do
    run bench gemm --threads $threads
    expect 2 "bench gemm --threads $threads"
done
run bench ops --threads 2
expect 2 "bench ops --threads"
for what in gemm moe layers ops; do
    run bench $what --class x87
    expect 2 "bench $what --class"
    says "bench --class x87: there is no such class" "bench $what --class"
    run bench $what --tier sse
    expect 2 "bench $what --tier"
    run bench $what --class
    expect 2 "bench $what --class of no name"
done
run bench model --class x86
expect 2 "bench model --class"
run bench scaling --tier ref
expect 2 "bench scaling --tier"
run bench gemm --class fp32 --tier ref --threads 1
expect 0 "bench gemm --class --tier"
same "$(wc -l <"$room/out")" 3 "bench gemm of one class and tier: its products"
run bench ops linear norm --class fp32 --tier ref --json
expect 0 "bench ops --class --tier"
same "$(wc -l <"$room/out")" 2 "bench ops of one class and tier"
says '"op":"linear",.*"flops":[1-9][0-9]*,.*"peak_gflops":0.00,.*"share":null,"bound":null' "bench ops: tier ref has no peak"
says '"op":"norm",.*"flops":0,.*"copy_gbytes_s":[1-9][0-9.]*,"share":0\.[0-9]+,"bound":"copy"' "bench ops: bytes"
for words in "--device cuda" "--json" "--steps 3" "--tiles" "--tiles=" "--run.ranks=2 --numerics.class=sm90" "--run.device=cpu"; do
    # shellcheck disable=SC2086
    run bench tune micro_gqa $words
    expect 2 "bench tune $words"
done
says "bench tune micro_gqa: run.device = cpu: tiles are a GPU's: --run.device=cuda" "bench tune on a CPU"
run bench gemm --tiles "$room/tiles.def"
expect 2 "bench gemm --tiles"
run bench layers --device cuda
expect 2 "bench layers --device"
run bench moe --steps 3
expect 2 "bench moe --steps"
run bench ops --steps 3
expect 2 "bench ops --steps"

run bench ops cast judge
expect 0 "bench ops"
says "^cast +x86 +ref +[0-9.]+ us +1.00 x ref +0.000 MFLOP +0.00 GFLOP/s +[0-9.]*[1-9][0-9.]* GB/s; peak +0.0, copy +[0-9.]+: [0-9]+ % of the copy$" "bench ops: cast"
says "^judge +fp32 +ref +[0-9.]+ us +1.00 x ref .* GB/s; " "bench ops: judge"
run bench ops cast --json
expect 0 "bench ops --json"
says '^\{"op":"cast","class":"sm90","tier":"ref","threads":1,"us":[0-9.]+,"times_ref":1\.000,"flops":0,.*"gbytes_s":[0-9.]+,.*"bound":"copy"\}$' "bench ops --json"
run bench ops cast --device cpu --json
expect 0 "bench ops --device cpu"
says '"tier":"ref","threads":1,' "bench ops --device cpu"
for words in "ops casts" "ops pack" "model" "cast" "ops cast --steps 3"; do
    # shellcheck disable=SC2086
    run bench $words --device cuda
    expect 2 "bench $words --device cuda"
done
for device in auto guarded gpu cuda:9999 ""; do
    run bench gemm --device "$device"
    expect 2 "bench --device $device"
done
run bench gemm --device auto
says "bench --device auto: must be cpu, cuda or cuda:N" "bench --device auto"
run bench model configs/micro_mla.toml --trace "$room/trace.json"
expect 2 "bench model --trace on a CPU"
says "bench model --trace: run.device = cpu: it is of a GPU's work" "bench model --trace on a CPU"
run bench model --trace
expect 2 "bench model --trace"
run bench ops pack --device cuda
says "bench ops pack: is not timed on a GPU: products of a GPU read weights as they are" "bench ops pack --device cuda"
run bench attention
expect 2 "bench attention"
says "attention alone is timed on a GPU: --device cuda" "bench attention"
if "$BIN" info | grep -q '^devices    cpu (no cuda'; then
    for what in gemm attention moe ops "ops cast norm"; do
        # shellcheck disable=SC2086
        run bench $what --device cuda --json
        expect 1 "bench $what --device cuda without a GPU"
        says "switchyard: run.device = cuda: " "bench $what --device cuda without a GPU"
    done
fi
run bench ops casts
expect 2 "bench ops of no op"
says "bench ops casts: there is no op of that name" "bench ops of no op"

printf '#!/bin/sh\nexec "%s" "$@" --debug.seed=7\n' "$BIN" >"$room/other"
printf '#!/bin/sh\nexit 3\n' >"$room/broken"
chmod +x "$room/other" "$room/broken"
paired() { # EXIT OTHER
    code=0
    PAIRS=2 STEPS=1 sh bench/paired.sh "$2" "$BIN" -- "$config" >"$room/out" 2>&1 || code=$?
    expect "$1" "paired.sh $2"
}
paired 0 "$BIN"
says "^digest +the same" "paired.sh of equal programs"
says "^total +[0-9.]+ +[0-9.]+ +[0-9.]+$" "paired.sh: total"
says "^layer_op_calls +[0-9.]+ +[0-9.]+ +1\.000$" "paired.sh: calls"
paired 1 "$room/other"
says "^digest +DIFFERENT" "paired.sh of programs that differ"
paired 1 "$room/broken"

# bench scaling: a line for each number of threads, one for each op, and the share of the peak's gain.
run bench scaling "$config" --threads 1,3 --steps 2
expect 0 "bench scaling"
for threads in 1 3; do
    says "^$threads +[0-9.]+ +[1-9][0-9]* +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+$" "bench scaling: $threads threads"
done
says "^  linear_dw( +[0-9.]+){6}$" "bench scaling: an op by 1 and 3 threads, times, share, alone, idle"
says "^with 3 threads: [0-9.]+ of what the peak gains; one thread alone for [0-9.]+ %" "bench scaling: the sum"
run bench scaling "$config" --threads 1,3 --steps 2 --cpu --json
expect 0 "bench scaling --cpu"
says '"threads":3,.*"as_apart":1,.*"peak_times":3.0000,.*"linear":\{"ms":[0-9.]+,"alone_ms":[0-9.]+,' "bench scaling --cpu --json"
for threads in 0 1,0 1,,2 1,2, none 1025 1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1; do
    run bench scaling "$config" --threads "$threads"
    expect 2 "bench scaling --threads $threads"
done
run bench scaling "$config" --steps 65
expect 2 "bench scaling --steps"
run bench scaling "$config" --run.ranks=2
expect 2 "bench scaling of ranks"
LEAST=1000 sh bench/scaling.sh "$BIN" "$config" --threads 1,2 --steps 1 >"$room/out" 2>&1 && fail "bench/scaling.sh: LEAST"
says "^LESS: .* bound 1000" "bench/scaling.sh: a bound that is missed"
LEAST=0 sh bench/scaling.sh "$BIN" "$config" --threads 1,2 --steps 1 >"$room/out" 2>&1 || fail "bench/scaling.sh"
says "^(Model name|lscpu:)" "bench/scaling.sh: the machine"
finish
