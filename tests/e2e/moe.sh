# Options of the MoE layers in a run: routes written and followed, scatter-add, losses, counters, forced balance, recompute.
. tests/lib/check.sh
config=configs/micro_mla.toml
steps=--training.steps=3
quiet=--checkpoint.enable=false

# Routes: the files do not depend on the layout, and following them gives the run again.
train a $steps "--moe.routes_out=$room/ra"
expect 0 "routes_out"
a=$(digest)
train b $steps $quiet --training.local_batch_size=3 --run.threads=1 --activation_checkpoint.mode=full "--moe.routes_out=$room/rb"
expect 0 "routes_out in another layout"
same "$(digest)" "$a" "digest in another layout"
for s in 1 2 3; do
    cmp -s "$room/ra/step-0000000$s.safetensors" "$room/rb/step-0000000$s.safetensors" || fail "step $s: other routes"
done
# Over ranks, too: of the data, with experts and stages on others; the first writes what all have.
ep=--parallelism.expert_parallel_degree pp=--parallelism.pipeline_parallel_degree
n=0
for layout in --run.ranks=2 "--run.ranks=3 $ep=3" "--run.ranks=4 $pp=2 --training.local_batch_size=2 --activation_checkpoint.mode=full" \
    "--run.ranks=8 $pp=2 $ep=4 --parallelism.pipeline_parallel_schedule=InterleavedZeroBubble --model.n_layers=4"; do
    case $layout in *n_layers*) ref=$room/r4 && train four $steps $quiet --model.n_layers=4 "--moe.routes_out=$ref" ;; *) ref=$room/ra ;; esac
    n=$((n + 1))
    train ranks$n $steps $quiet $layout "--moe.routes_out=$room/ranks_$n"
    expect 0 "routes_out, $layout"
    diff -r "$ref" "$room/ranks_$n" || fail "routes_out, $layout: other files"
done
train c $steps $quiet --training.local_batch_size=5 "--moe.routes_in=$room/ra" "--moe.routes_out=$room/rc"
expect 0 "routes_in"
same "$(history c)" "$(history a)" "following its own routes"
cmp -s "$room/ra/step-00000003.safetensors" "$room/rc/step-00000003.safetensors" || fail "what was followed is not what was written"

# Other weights at the start, the same routes: every token goes where it went in the first run.
train d $steps $quiet --debug.seed=7 "--moe.routes_in=$room/ra" "--moe.routes_out=$room/rd"
expect 0 "routes_in with another seed"
cmp -s "$room/ra/step-00000001.safetensors" "$room/rd/step-00000001.safetensors" || fail "routes were not followed"
differ "$(digest)" "$a" "another seed"
same "$(grep -o '"load":\[[0-9,]*\]' "$room/d/metrics.jsonl")" "$(grep -o '"load":\[[0-9,]*\]' "$room/a/metrics.jsonl")" "loads"

# Refused: no folder, no such step, damage; nothing is trained with a part of it.
train e $steps $quiet "--moe.routes_in=$room/none"
[ $code -ne 0 ] || fail "a folder that is not there"
says 'none' "a folder that is not there"
[ ! -e "$room/e" ] || fail "a folder that is not there: the run has one"
train f --training.steps=4 $quiet "--moe.routes_in=$room/ra"
expect 3 "a step without routes"
says 'step-00000004.*steps that are there: 1-3' "a step without routes"
[ ! -e "$room/f" ] || fail "a step without routes: the run has a folder"
mkdir "$room/cut"
head -c 500 "$room/ra/step-00000001.safetensors" >"$room/cut/step-00000001.safetensors"
train g --training.steps=1 $quiet "--moe.routes_in=$room/cut"
expect 3 "a cut file"
says 'step-00000001.safetensors' "a cut file"
[ ! -e "$room/g" ] || fail "a cut file: the run has a folder"
train i $steps $quiet "--moe.routes_in=$room/ra" --moe.top_k=1
expect 3 "routes of another top_k"
says 'top_k is [0-9]+, but 1 is needed' "routes of another top_k"
[ ! -e "$room/i" ] || fail "routes of another top_k: the run has a folder"
cp -r "$room/ra" "$room/late"
head -c 500 "$room/ra/step-00000003.safetensors" >"$room/late/step-00000003.safetensors"
train kept $steps "--moe.routes_in=$room/late"
expect 3 "a cut file in the middle"
says 'step-00000003.safetensors' "a cut file in the middle"
run inspect "$room/kept/checkpoints/step-00000002"
expect 0 "what was done before a cut file"

train dense $steps $quiet --model.n_dense_layers=2 --moe.z_loss_coeff=1
expect 2 "a z-loss without MoE layers"
train both $steps $quiet --debug.moe_force_load_balance "--moe.routes_in=$room/ra"
expect 2 "two that choose"
says 'debug.moe_force_load_balance' "two that choose"

# Combine by scatter-add, and every kind of recompute: the same bits; the counters say what was done.
train h $steps --moe.combine=scatter --metrics.moe_counters --validation.enable --validation.freq=1
expect 0 "scatter"
same "$(digest)" "$a" "digest by scatter-add"
says '^path_local +[1-9]' "counters"
says '^scatter_add +[1-9]' "counters"
says '^cached_w13_miss +4 ' "one miss for each version of the weights"
says '^cached_w13_hit +[1-9]' "counters"
says '^cached_w2t_hit +[1-9]' "counters"
grep -q '^{"kind":"counters","step":3,"counters":{"path_local":' "$room/h/metrics.jsonl" || fail "counters in metrics.jsonl"
grep -q '^scatter_add ' "$room/h/log.txt" || fail "counters in log.txt"
for n in op 1 2; do
    train i$n $steps $quiet --activation_checkpoint.selective_ac_option=$n --activation_checkpoint.debug
    expect 0 "selective $n"
    same "$(digest)" "$a" "digest, selective $n"
    says 'recomputed layer 1, but attention and dispatch' "selective $n"
done
train j $steps $quiet --debug.moe_force_load_balance --metrics.moe_counters
expect 0 "forced balance"
says '^path_forced +[1-9]' "forced balance in closed form"
says '^path_local +0' "forced balance"
same "$(tr '{' '\n' <"$room/j/metrics.jsonl" | sed -n 's/.*"load_min":\([0-9]*\),"load_max":\([0-9]*\).*/\1-\2/p' | sort -u)" "128-128" "loads"

# The losses change the answer, are layout-free, and stand in the metrics only when asked for.
grep -q '"balance_loss"\|"z_loss"' "$room/a/metrics.jsonl" && fail "losses that were not asked for"
train k $steps $quiet --moe.seq_aux_loss_coeff=0.01 --moe.z_loss_coeff=0.001
expect 0 "losses"
k=$(digest)
differ "$k" "$a" "losses"
same "$(grep -c '"balance_loss":[01]\.[0-9]*,"z_loss":[0-9.]*' "$room/k/metrics.jsonl")" 3 "losses in metrics.jsonl"
for m in none full selective; do
    train l$m $steps $quiet --moe.seq_aux_loss_coeff=0.01 --moe.z_loss_coeff=0.001 --activation_checkpoint.mode=$m \
        --training.local_batch_size=3 --run.threads=1
    same "$(digest)" "$k" "losses, recompute $m"
    same "$(grep -o '"balance_loss":[0-9.]*,"z_loss":[0-9.]*' "$room/l$m/metrics.jsonl")" \
        "$(grep -o '"balance_loss":[0-9.]*,"z_loss":[0-9.]*' "$room/k/metrics.jsonl")" "losses, recompute $m"
done
finish
