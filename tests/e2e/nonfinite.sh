# A loss that is no number: the step is not applied, the weights before it are saved, exit 4; skip goes on, up to a limit; the
# same in every layout.
. tests/lib/check.sh
wild="--optimizer.lr=10 --optimizer.weight_decay=1000 --lr_scheduler.warmup_steps=0 --training.steps=20"

# shellcheck disable=SC2086
train stop $wild
expect 4 "stop"
says "^switchyard: step 2 was not applied: .*; the weights of step 1 are kept" "stop"
same "$(grep -c '^error: step 2 was not applied: ' "$room/stop/log.txt")" 1 "stop: the error stands in log.txt"
same "$(ls "$room/stop/checkpoints")" step-00000001 "stop: the weights before are saved"
run inspect "$(checkpoint stop 1)"
expect 0 "stop: they are whole"
same "$(history stop | cut -d' ' -f4 | uniq | wc -l)" 1 "stop: the digest of step 2 is that of step 1"
grep -q '"step":2,"loss":null,.*"skipped":1' "$room/stop/metrics.jsonl" || fail "stop: no line of the skipped step"

# shellcheck disable=SC2086
train again $wild --run.threads=3 --training.local_batch_size=5 --activation_checkpoint.mode=full
same "$(history again)" "$(history stop)" "another layout stops alike"
# shellcheck disable=SC2086
train stop $wild
expect 4 "resumed: the same step fails again"
same "$(history again)" "$(history stop)" "resumed: history"

# shellcheck disable=SC2086
train skip $wild --run.nonfinite=skip --run.nonfinite_limit=3 --metrics.log_freq=1
expect 4 "skip"
says "^warning: step 2 skipped: " "skip"
says "step 4 was not applied, the last of 3 in a row" "skip: the limit"
same "$(history skip | wc -l)" 4 "skip: lines"
# Step 2 met a NaN before all of its tokens were routed: it has no loads, which is not the same as loads of zero.
says '^ *2/20 +nan .* - +-$' "skip: the line of a skipped step, without balance"
same "$(grep -c '"skipped":1,"moe":\[\]}$' "$room/skip/metrics.jsonl")" 3 "skip: loads of skipped steps"
# Every op of it ran: its speed is that of a whole step.
same "$(grep -c '"tps":0,\|"tokens":0,' "$room/skip/metrics.jsonl")" 0 "skip: speed of skipped steps"

# A run with skipped steps can be followed, in another layout: the same history, whoever met the NaN.
skip="--run.nonfinite=skip --run.nonfinite_limit=100 --training.steps=5"
# shellcheck disable=SC2086
train lead $wild $skip "--moe.routes_out=$room/routes"
expect 0 "lead"
same "$(grep -c '"skipped":1' "$room/lead/metrics.jsonl")" 4 "lead: skipped steps"
# shellcheck disable=SC2086
train follow $wild $skip --training.local_batch_size=5 "--moe.routes_in=$room/routes" "--moe.routes_out=$room/routes_again"
expect 0 "follow"
grep -q '^error: ' "$room/follow/log.txt" && fail "follow: log.txt has an error"
says '^warning: step 2 skipped: the routes that are followed say' "follow"
same "$(history follow)" "$(history lead)" "follow: history"
diff -r "$room/routes" "$room/routes_again" || fail "follow: writes other files"

run inspect --experts "$room/skip"
expect 0 "inspect --experts"
says '^note: 3 steps are left out' "inspect --experts: skipped steps"
finish
