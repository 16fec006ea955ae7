# Layout never changes a bit: threads x local batch x recompute x tier, and the recipes that sum in other shapes.
. tests/lib/check.sh

tiers=$("$BIN" info | sed -n 's/ [a-z0-9_]* (no: [^()]*\(([^()]*)\)*)//g; s/^tiers *//p') # those that run here
echo "$tiers" | grep -q ref || fail "info names no tier ref: $tiers"

# layouts LIST [option...]: every layout that LIST prints, as "threads batch mode tier", ends with the digest of the first.
layouts() {
    $1 >"$room/list"
    shift
    echo "$config $*: $(wc -l <"$room/list") layouts" # tools/run_tests.sh shows where a long test is
    first=
    n=0
    while read -r threads batch mode tier; do
        rm -rf "$room/run"
        run train "$config" --run.dir="$room/run" --training.steps=2 --checkpoint.enable=false --run.threads="$threads" \
            --training.local_batch_size="$batch" --activation_checkpoint.mode="$mode" --run.tier="$tier" "$@" </dev/null
        [ $code -eq 0 ] || { fail "$config $*: $threads $batch $mode $tier: exit $code: $(tail -n 1 "$room/out")"; continue; }
        now=$(history run)
        [ -n "$first" ] || first=$now
        same "$now" "$first" "$config $*: $threads threads, batch $batch, $mode, $tier"
        n=$((n + 1))
    done <"$room/list"
    [ $n -gt 2 ] || fail "$config $*: $n layouts"
    seen=$(echo "$first" | tail -n 1 | cut -d' ' -f4)
    echo "$seen $config $*, $n layouts" >>"$room/seen"
}
# Everything with everything; the slow tier ref, which calls libm for each fmaf, in every seventh place.
all() {
    n=0
    for tier in $tiers; do
        for threads in 1 2 3; do
            for batch in 1 2 3 4 16; do
                for mode in none full selective; do
                    n=$((n + 1))
                    [ "$tier" = ref ] && [ $((n % 7)) -ne 1 ] || echo "$threads $batch $mode $tier"
                done
            done
        done
    done
}
# Every pair of threads and batch, of threads and mode, of batch and mode; 1 is ref, 2 and 3 the tiers above it.
some() {
    while read -r threads batch mode tier; do
        [ "$tier" -le "$(echo "$tiers" | wc -w)" ] || tier=1
        echo "$threads $batch $mode $(echo "$tiers" | cut -d' ' -f"$tier")"
    done <<'END'
2 4 none 3
3 1 selective 1
1 3 full 2
1 1 none 3
2 1 full 2
1 2 selective 3
2 2 none 2
3 2 full 3
2 3 selective 3
3 3 none 2
1 4 full 3
3 4 selective 2
1 16 selective 2
2 16 full 1
3 16 none 3
END
}
few() { some | sed -n '1p;2p;3p'; }

many=all some=some
[ -z "${QUICK-}" ] || many=few some=few
for config in configs/micro_mla.toml configs/micro_gqa.toml; do
    layouts $many
    layouts $some --numerics.class=fp32
    layouts few --numerics.class=sm90
    layouts few --numerics.class=amx --training.seq_len=37
    if [ -n "${QUICK-}" ]; then
        layouts few --numerics.lanes=4 --numerics.expert_lanes=2 --numerics.cell=2
        layouts few --training.seq_len=37 --model.moe_inter_dim=24
        continue
    fi
    for class in x86 fp32; do
        layouts $some --numerics.class=$class --numerics.lanes=4 --numerics.expert_lanes=2 --numerics.cell=2
        layouts $some --numerics.class=$class --numerics.expert_lanes=8
        layouts few --numerics.class=$class --numerics.expert_lanes=4 --numerics.cell=2
        layouts few --numerics.class=$class --numerics.lanes=1
        layouts few --numerics.class=$class --numerics.lanes=2 --numerics.cell=8 --numerics.combine_groups=2
    done
    # S, E and expert widths that no tile divides; a score before the experts; everything forced to balance
    layouts few --training.seq_len=37 --model.moe_inter_dim=24 --moe.route_scale=2.5
    layouts few --moe.score_before_experts=true --training.seq_len=33
    layouts few --debug.moe_force_load_balance=true
    layouts few --moe.top_k=4 --moe.num_shared_experts=2 --moe.shared_gate=true --moe.gate_bias=true
    # more than one block of 128 keys
    layouts few --training.seq_len=150 --training.global_batch_size=4 --numerics.lanes=4
done
config=configs/micro_gqa.toml
layouts few --model.window=7
layouts few --model.tie_word_embeddings=true --model.attention_output_bias=true
layouts few --model.qk_norm=head --model.attention_bias=true
layouts few --model.qk_norm=full --moe.score_func=topk_softmax
config=configs/micro_mla.toml
layouts few --model.tie_word_embeddings=true --model.attention_bias=true --model.attention_output_bias=true

# A recipe is a recipe: each has its own bits.
same "$(cut -d' ' -f1 "$room/seen" | sort | uniq -d)" "" "two recipes with one digest ($(cut -d' ' -f1 "$room/seen" | sort | uniq -d |
    while read -r d; do grep "$d" "$room/seen"; done))"
[ $bad -eq 0 ] || cat "$room/seen"
finish
