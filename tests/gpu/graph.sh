# Steps that a GPU repeats as one CUDA graph have the bits, counters, losses and skipped steps of steps that the host enqueues:
# with validation and checkpoints between them, with traces, and where no number is finite any more.
. tests/lib/check.sh
counters() {
    sed -n 's/^{"kind":"counters",.*"counters":{\(.*\)}}$/\1/p' "$room/$1/metrics.jsonl"
}
lines() {
    grep -c "\"kind\":\"$2\"" "$room/$1/metrics.jsonl"
}
for config in configs/micro_mla.toml configs/micro_gqa.toml; do
    for grow in 0 1000; do # weights that grow until nothing is finite
        for graph in true false; do
            train $graph --run.device=cuda --numerics.class=sm90 --training.steps=9 --run.cuda_graph=$graph --optimizer.lr=0.01 \
                --optimizer.weight_decay=$grow --lr_scheduler.warmup_steps=0 --run.nonfinite=skip --checkpoint.interval=4 \
                --validation.enable --validation.freq=3 --metrics.moe_counters
            expect 0 "$config, weight_decay $grow, cuda_graph $graph"
        done
        same "$(history true)" "$(history false)" "$config, weight_decay $grow: the bits with a graph"
        same "$(counters true)" "$(counters false)" "$config, weight_decay $grow: counters with a graph"
        same "$(lines true eval)" "$(lines false eval)" "$config, weight_decay $grow: held-out losses with a graph"
        rm -rf "$room/true" "$room/false"
    done
    # Steps that are traced in between are enqueued, and have the stream's own times.
    for traced in true false; do
        train $traced --run.device=cuda --numerics.class=sm90 --training.steps=12 --profiling.enable_profiling=$traced \
            --profiling.profile_freq=6 --profiling.profiler_warmup=1
        expect 0 "$config, traced $traced"
    done
    same "$(history true)" "$(history false)" "$config: the bits with traces"
    trace=$room/true/profile_traces/iteration_12/rank0_trace.json
    ops=$(grep -c '"cat":"op".*"tid":1001,' "$trace") queued=$(grep -c '"cat":"enqueue".*"tid":1,' "$trace")
    [ "$ops" -gt 100 ] && [ "$ops" -eq "$queued" ] || fail "$config: $ops ops on the stream, $queued enqueued"
    rm -rf "$room/true" "$room/false"
    run bench model $config --numerics.class=sm90 --run.device=cuda --steps 3 --json
    says '"launches":[1-8][,}]' "$config: a step is a few launches"
    says '"waits":1[,}]' "$config: one wait a step"
    run bench model $config --numerics.class=sm90 --run.device=cuda --run.cuda_graph=false --steps 3 --json
    says '"launches":[0-9]{3}' "$config: without a graph it is not"
done
finish
