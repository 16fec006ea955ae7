# optimizer.groups: what they change and what not; frozen tensors; the same in every layout. training.skip_steps.
. tests/lib/check.sh

steps="--training.steps=4 --checkpoint.interval=2 --lr_scheduler.warmup_steps=0"
of() { # NAME option...: the digest of a run
    # shellcheck disable=SC2086
    train "$@" $steps
    expect 0 "train $*"
    digest
}
plain=$(of plain)
same "$(of all '--optimizer.groups=*: lr=1')" "$plain" "a group that changes nothing"
same "$(of all2 '--optimizer.groups=*norm*: weight_decay=0.1' '--optimizer.groups=*: lr=1, weight_decay=0.1')" "$plain" \
    "groups that change nothing"
same "$(of half '--optimizer.groups=*: lr=0.5')" "$(of half_lr --optimizer.lr=4e-4)" "half the learning rate" # 8e-4 is the default
same "$(of still '--optimizer.groups=*: weight_decay=0')" "$(of still_wd --optimizer.weight_decay=0)" "no weight decay"
norms=$(of norms '--optimizer.groups=*norm*: weight_decay=0')
differ "$norms" "$plain" "norms without weight decay"
train first '--optimizer.groups=*norm*: weight_decay=0' '--optimizer.groups=*layernorm*: lr=0.5' '--optimizer.groups=*: lr=1'
expect 2 "a group without a tensor of its own"
says 'optimizer.groups = .*every tensor of "\*layernorm\*: lr=0.5" is of an earlier group' "a group without a tensor of its own"
same "$(of first2 '--optimizer.groups=*norm*: weight_decay=0' '--optimizer.groups=*: lr=1')" "$norms" "the first match is taken"

# Frozen: neither moved nor decayed, no moments, no part in the norm; the others move.
tensor() { # RUN STEP NAME: its bytes, hashed
    python3 - "$(checkpoint "$1" "$2")" "$3" <<'END'
import glob, json, struct, sys, hashlib
for path in sorted(glob.glob(sys.argv[1] + "/*.safetensors")):
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        head = json.loads(f.read(n))
        if sys.argv[2] in head:
            a, b = head[sys.argv[2]]["data_offsets"]
            f.seek(8 + n + a)
            print(hashlib.sha256(f.read(b - a)).hexdigest())
END
}
of frozen '--optimizer.groups=model.embed*: frozen' >"$room/d"
differ "$(cat "$room/d")" "$plain" "a frozen embedding"
same "$(of frozen0 '--optimizer.groups=model.embed*: lr=0')" "$(cat "$room/d")" "lr=0 is frozen"
differ "$(history frozen | sed -n 1p | cut -d' ' -f3)" "$(history plain | sed -n 1p | cut -d' ' -f3)" "the norm without the embedding"
same "$(history frozen | sed -n 1p | cut -d' ' -f2)" "$(history plain | sed -n 1p | cut -d' ' -f2)" "the loss of the first step"
if command -v python3 >/dev/null; then
    name=model.embed_tokens.weight
    same "$(tensor frozen 2 $name)" "$(tensor frozen 4 $name)" "a frozen tensor"
    [ -n "$(tensor frozen 2 $name)" ] || fail "no tensor $name in the checkpoint"
    differ "$(tensor plain 2 $name)" "$(tensor plain 4 $name)" "one that is not"
    differ "$(tensor frozen 2 lm_head.weight)" "$(tensor frozen 4 lm_head.weight)" "another tensor"
fi
of none --moe.load_balance_coeff=0 '--optimizer.groups=*: frozen' >"$room/d"
same "$(cat "$room/d")" "$(history none | sed -n 1p | cut -d' ' -f4)" "all are frozen: no step changes the digest"
same "$(history none | sed -n 2p | cut -d' ' -f3)" 0000000000000000 "and there is no norm"

# Every layout.
run verify "$config" --steps 2 --layouts 4 '--optimizer.groups=*norm*: weight_decay=0' '--optimizer.groups=*.gate.*: lr=0.3' \
    '--optimizer.groups=*experts.[0-2].*: frozen'
expect 0 "verify with groups"

# Recorded, and part of the run: a resume has them without being told.
grep -q '^groups = \["\*norm\*: weight_decay=0"\]$' "$room/norms/config.toml" || fail "config.toml has no groups"
copy_until norms again 2
train again --training.steps=4 --checkpoint.interval=2 --lr_scheduler.warmup_steps=0
expect 0 "resume"
same "$(digest)" "$norms" "a resumed run has its groups"

for wrong in '*gate_projj*: lr=0.5' '*e_score_correction_bias: lr=0.5'; do
    train wrong "--optimizer.groups=$wrong"
    expect 2 "$wrong"
    says 'has no tensor of this model that is trained: the nearest are model\.' "$wrong"
done
train wrong '--optimizer.groups=*gate_projj*: lr=0.5'
says 'nearest are model.layers.[0-9].mlp.experts.[0-9].gate_proj.weight' "the nearest name"
run plan "$config" '--optimizer.groups=*bogus*: lr=0.5'
expect 2 "plan with a pattern that has no tensor"
run plan "$config" --world 4 --parallelism.expert_parallel_degree=3
expect 2 "plan of ranks that cannot be"
same "$(grep -c parameters "$room/out")" 0 "plan of ranks that cannot be: nothing before it"
train wrong '--optimizer.groups=*norm*' '--optimizer.groups=*: lr=fast' --training.skip_steps=3-2
expect 2 "no groups"
says 'optimizer.groups = .*has no colon' "no colon"
says '"fast" is no number' "no number"
says '"3-2" ends before it begins' "no range"

# Steps that are passed over: their data go by, the weights stay, the schedule goes on; run.nonfinite does not matter.
of skips --training.skip_steps=2 --training.skip_steps=4-9 >"$room/d"
h() { history skips | sed -n "$1p" | cut -d' ' -f"$2"; }
same "$(h 2 4)" "$(h 1 4)" "the digest after a step that was skipped"
differ "$(h 3 4)" "$(h 2 4)" "the digest after the next"
same "$(h 4 4)" "$(h 3 4)" "the last step of a range"
same "$(grep -o '"step":[0-9]*,\|"skipped":[0-9]' "$room/skips/metrics.jsonl" | tr -d '\n')" \
    '"step":1,"skipped":0"step":2,"skipped":2"step":3,"skipped":0"step":4,"skipped":2' "metrics"
grep -q '"step":2,"loss":null' "$room/skips/metrics.jsonl" || fail "a skipped step has a loss"
same "$(grep -o '"lr":[^,]*' "$room/skips/metrics.jsonl")" "$(grep -o '"lr":[^,]*' "$room/plain/metrics.jsonl")" "the schedule"
same "$(grep -o '"tokens":[^,]*' "$room/skips/metrics.jsonl")" "$(grep -o '"tokens":[^,]*' "$room/plain/metrics.jsonl")" "the data"
same "$(sed -n 's/^step 2 skipped: //p' "$room/skips/log.txt")" "training.skip_steps has it" "the log"
grep -q 'not applied: training.skip_steps has it' "$room/skips/report.html" || fail "the report does not say why"
copy_until skips again2 2
train again2 --training.steps=4 --checkpoint.interval=2 --lr_scheduler.warmup_steps=0
expect 0 "resume between skipped steps"
same "$(digest)" "$(cat "$room/d")" "a resumed run skips the same steps"
run verify "$config" --steps 3 --layouts 2 --training.skip_steps=2
expect 0 "verify with a skipped step"
run replay "$room/skips" --step 3
expect 0 "replay over a skipped step"
finish
