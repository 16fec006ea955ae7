# On a GPU as on the CPU: texts, by a cache of keys and values (heads of any size, and those of wgmma: 64, 192/128), several
# prompts, beyond seq_len; digests with groups of tensors, frozen ones and skipped steps.
. tests/lib/check.sh
gpu=${DEVICE:-cuda}
for config in configs/micro_mla.toml configs/micro_gqa.toml; do
    for device in cpu gpu; do
        on=$([ $device = cpu ] && echo cpu || echo "$gpu")
        train $device --run.device="$on" --numerics.class=sm90 --training.steps=5 --lr_scheduler.warmup_steps=0 \
            '--optimizer.groups=*norm*: weight_decay=0' '--optimizer.groups=*gate.*: lr=0.3' \
            '--optimizer.groups=model.embed*: frozen' --training.skip_steps=3
        expect 0 "$config on $device"
    done
    same "$(history gpu)" "$(history cpu)" "$config: groups, frozen tensors, a skipped step"
    for device in cpu gpu; do
        on=$([ $device = cpu ] && echo cpu || echo "$gpu")
        "$BIN" generate "$room/gpu" --run.device="$on" --prompt "The " --prompt "moon" -n 2 --max-tokens 60 >"$room/$device.txt" \
            2>"$room/err" || fail "$config: generate on $device: $(cat "$room/err")"
    done
    cmp "$room/cpu.txt" "$room/gpu.txt" || fail "$config: texts"
    rm -rf "$room/cpu" "$room/gpu"
done
for flavor in gqa-debug dsv3-debug; do
    run train configs/micro_mla.toml --model.flavor=$flavor --run.dir="$room/run" --run.device="$gpu" --numerics.class=sm90 \
        --training.steps=2 --training.seq_len=256
    expect 0 "$flavor on cuda"
    for device in cpu gpu; do # a prompt of one block of keys and more
        on=$([ $device = cpu ] && echo cpu || echo "$gpu")
        "$BIN" generate "$room/run" --run.device="$on" --prompt "$(head -c 140 tests/data/prose.jsonl)" --temperature 0 \
            --max-tokens 6 >"$room/$device.txt" 2>"$room/err" || fail "$flavor: generate on $device: $(cat "$room/err")"
    done
    cmp "$room/cpu.txt" "$room/gpu.txt" || fail "$flavor: texts"
    rm -rf "$room/run"
done
finish
