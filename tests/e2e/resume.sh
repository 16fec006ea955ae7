# A resumed run has the bits of one that was never interrupted: from every step, under any other layout, in every class.
. tests/lib/check.sh

steps=6
keep="--training.steps=$steps --checkpoint.interval=1 --checkpoint.keep_latest_k=0"
for config in configs/micro_mla.toml configs/micro_gqa.toml; do
    for class in x86 fp32 sm90; do
        [ -z "${QUICK-}" ] || [ $class = x86 ] || continue
        rm -rf "$room/whole" "$room/two"
        train whole $keep --numerics.class=$class
        expect 0 "$config $class, $steps steps"
        want=$(digest) lines=$(history whole)
        same "$(echo "$lines" | wc -l)" $steps "$config $class: lines of metrics"
        differ "$(echo "$lines" | sed -n 1p | cut -d' ' -f4)" "$want" "$config $class: the digest moves"
        for k in 1 2 3 4 5; do
            [ $class != sm90 ] || [ $k -eq 3 ] || continue # slow by emulation
            copy_until whole two $k
            train two $keep --numerics.class=$class
            expect 0 "$config $class, resumed at $k"
            says "resumed from .*step-0000000$k at step $k" "$config $class, resumed at $k"
            same "$(digest)" "$want" "$config $class, resumed at $k: digest"
            same "$(history two)" "$lines" "$config $class, resumed at $k: metrics"
            diff -r "$(checkpoint whole $steps)" "$(checkpoint two $steps)" || fail "$config $class, resumed at $k: checkpoint"
            same "$(grep -c '"kind":"train"' "$room/two/metrics.jsonl.replaced")" $((steps - k)) "replaced lines, resumed at $k"
            [ -z "${QUICK-}" ] || break
        done
    done
done

# Another layout at every step of the way: one run that is resumed five times.
for config in configs/micro_mla.toml configs/micro_gqa.toml; do
    rm -rf "$room/whole" "$room/parts"
    train whole $keep
    want=$(history whole)
    k=0 # the run dies after step k: later checkpoints are removed
    while read -r threads batch mode tier; do
        k=$((k + 1))
        "$BIN" train "$config" --run.dir="$room/parts" $keep --run.threads="$threads" --training.local_batch_size="$batch" \
            --activation_checkpoint.mode="$mode" --run.tier="$tier" >"$room/out" 2>&1 </dev/null || fail "layout $k: $(tail -n 1 "$room/out")"
        same "$(history parts)" "$want" "$config resumed at $((k - 1)) with $threads threads, batch $batch, $mode, $tier"
        copy_until parts rest $k
        rm -rf "$room/parts"
        mv "$room/rest" "$room/parts"
    done <<'END'
1 1 none ref
3 16 full auto
2 3 selective ref
1 5 none auto
2 4 full ref
3 2 selective auto
END
done

# The straight run may also save nothing on its way.
rm -rf "$room/end"
train end --training.steps=$steps --checkpoint.enable=false
same "$(history end)" "$want" "without checkpoints"
[ ! -e "$room/end/checkpoints" ] || fail "checkpoint.enable=false saved something"

# A run that is done says so, and changes nothing.
train whole $keep
expect 0 "a run that is done"
says "is done already" "a run that is done"
same "$(history whole)" "$want" "a run that is done: metrics"

# Steps of the whole run are part of the answer through the schedule, so more of them go on with another one.
train whole --training.steps=8 --checkpoint.interval=1
expect 0 "two steps more"
same "$(history whole | head -n $steps)" "$want" "two steps more: history"
same "$(history whole | wc -l)" 8 "two steps more"
finish
