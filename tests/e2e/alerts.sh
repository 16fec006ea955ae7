# Alerts: each kind is told in the log, in metrics.jsonl, to run.on_event and in the report; what is told changes no bit, and
# a command that hangs, fails or is not there holds up nothing. The defaults say nothing of a run that is well.
. tests/lib/check.sh

train well --training.steps=12
expect 0 "train"
want=$(digest)
grep -q '"kind":"event"' "$room/well/metrics.jsonl" && fail "a run that is well has alerts"

events() { # RUN EVENT: how many in metrics.jsonl
    grep -c '^{"kind":"event","step":[0-9]*,"event":"'"$2"'","value":[0-9.e+-]*,"bound":[0-9.e+-]*,"text":"[^"]*"}$' "$room/$1/metrics.jsonl"
}
train told --training.steps=12 --alerts.window=4 --alerts.loss_z=0.01 --alerts.grad_norm_factor=0.5 --alerts.load_cv=0.001 \
    --run.on_event="cat >>'$room/heard'; echo >>'$room/heard'"
expect 0 "train with alerts"
same "$(digest)" "$want" "alerts change the digest"
for event in loss_spike grad_norm_jump load_uneven; do
    n=$(events told $event)
    { [ "$n" -ge 1 ] && [ "$n" -le 3 ]; } || fail "$event: $n times in metrics.jsonl, not 1 to 3"
    grep -q "^warning: step [0-9]*: alert $event: " "$room/told/log.txt" || fail "$event: not in the log"
    tries=0
    until grep -q "^{.*\"event\":\"$event\".*\"run\":\"$room/told\"}$" "$room/heard" 2>/dev/null || [ $tries -ge 100 ]; do
        tries=$((tries + 1)) && sleep 0.05
    done
    [ $tries -lt 100 ] || fail "$event: run.on_event did not hear of it"
    grep -q "<td>$event: " "$room/told/report.html" || fail "$event: not in the report"
done
first=$(sed -n 's/^{"kind":"event","step":\([0-9]*\),.*/\1/p' "$room/told/metrics.jsonl" | head -n 1)
[ "$first" -ge 4 ] || fail "an alert in step $first, before there is a window"

train dead --training.steps=6 --training.global_batch_size=8 --moe.num_experts=64 --alerts.dead_steps=2 --alerts.window=4
expect 0 "train with dead experts"
dead=$(grep -c '"dead":[1-9]' "$room/dead/metrics.jsonl")
[ "$dead" -eq 0 ] || [ "$(events dead dead_expert)" -ge 1 ] || fail "dead_expert: none, though $dead steps had some"
[ "$dead" -gt 0 ] || fail "no expert was without a route: nothing is tested"

start=$(date +%s)
train rude --training.steps=12 --alerts.window=4 --alerts.loss_z=0.01 --alerts.grad_norm_factor=0.5 --run.on_event='sleep 20; exit 3'
expect 0 "train with a command that hangs"
[ $(($(date +%s) - start)) -lt 15 ] || fail "a command that hangs was waited for"
same "$(digest)" "$want" "a command that hangs changes the digest"
train off --training.steps=12 --alerts.window=0 --alerts.loss_z=0.01 --alerts.dead_steps=1
grep -q '"kind":"event"' "$room/off/metrics.jsonl" && fail "alerts.window = 0: alerts"
finish
