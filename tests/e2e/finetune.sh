# examples/finetune.c and .py: both do what train does, so they end with its digest; and a second call goes on.
. tests/lib/check.sh
example=$(dirname "$BIN")/examples/finetune
texts=tests/data/prose.jsonl
options="training.steps=4 lr_scheduler.warmup_steps=0 checkpoint.interval=100 run.threads=2"
flags=$(for o in $options; do echo "--$o"; done)
train theirs --training.dataset_path=$texts $flags
expect 0 "train"
wanted="weights $(digest)"
# shellcheck disable=SC2086
"$example" $config $texts --run.dir="$room/ours" $flags >"$room/out" 2>&1 || fail "finetune: $(cat "$room/out")"
"$example" $config $texts --run.dir="$room/ours" $flags >"$room/out" 2>&1 || fail "finetune again: $(cat "$room/out")"
same "$(sed 's/.*loss \([0-9.]*\) before, \([0-9.]*\) .*/\1 \2/;q' "$room/out" | tr ' ' '\n' | sort -u | wc -l)" 1 "nothing was left to do"
says '^held-out loss [0-9.]+ before, [0-9.]+ after step 4$' "finetune"
same "$(tail -n 1 "$room/out")" "$wanted" "the weights of the example"
"$example" $config nowhere --run.dir="$room/none" >"$room/out" 2>&1
same $? 1 "exit code without texts"
says "finetune: .*nowhere" "what is wrong"
if [ -e "$(dirname "$BIN")/libswitchyard.so" ] && command -v python3 >/dev/null; then
    PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=python SWITCHYARD_LIBRARY=$(dirname "$BIN")/libswitchyard.so python3 examples/finetune.py \
        $config $texts run.dir="$room/python" $options >"$room/out" 2>"$room/err" || fail "finetune.py: $(cat "$room/err")"
    same "$(tail -n 1 "$room/out")" "$wanted" "the weights of the Python example"
    grep -q '^logits 4x272$' "$room/err" || fail "finetune.py: logits: $(cat "$room/err")"
fi
finish
