# The held-out loss: measured every validation.freq steps and at the end, once each, in a run that was stopped and resumed too,
# and with the same bits whenever the weights are the same.
. tests/lib/check.sh
options="--validation.enable --validation.freq=3 --training.steps=8 --checkpoint.interval=2 --checkpoint.keep_latest_k=0"

# evals RUN: step and loss_bits of its lines.
evals() {
    sed -n 's/^{"kind":"eval","step":\([0-9]*\),.*"loss_bits":"\([0-9a-f]*\)".*/\1 \2/p' "$room/$1/metrics.jsonl"
}
# shellcheck disable=SC2086
train whole $options
expect 0 "8 steps"
same "$(evals whole | cut -d' ' -f1 | tr '\n' ' ')" "3 6 8 " "steps with a held-out loss"
same "$(evals whole | cut -d' ' -f2 | sort -u | wc -l)" 3 "held-out losses differ"
says '^step 3: held-out loss [0-9.]+ nats per token over [0-9]+ tokens$' "the log"
says "^held-out loss $(printf '%s' "$(sed -n 's/^step 8: held-out loss \([0-9.]*\) .*/\1/p' "$room/out")") nats" "the summary"
grep -q '^step 6: held-out loss' "$room/whole/log.txt" || fail "log.txt has no held-out loss"
order=$(sed -n 's/^{"kind":"\([a-z]*\)","step":\([0-9]*\),.*/\1\2/p' "$room/whole/metrics.jsonl" | tr '\n' ' ')
same "$order" "train1 train2 train3 eval3 train4 train5 train6 eval6 train7 train8 eval8 " "order of the lines"

# From any checkpoint on: none is repeated, none is left out. Step 6 is one of both kinds.
for step in 2 4 6; do
    copy_until whole "from$step" $step
    # shellcheck disable=SC2086
    train "from$step" $options
    expect 0 "from step $step"
    same "$(evals "from$step")" "$(evals whole)" "from step $step"
done

# At every step, at the last alone, never; other options of the measurement change no weight.
want=$(history whole)
train every --validation.enable --validation.freq=1 --training.steps=8
same "$(evals every | cut -d' ' -f1 | tr '\n' ' ')" "1 2 3 4 5 6 7 8 " "freq 1"
same "$(history every)" "$want" "freq 1: history"
same "$(evals every | sed -n 3p)" "$(evals whole | sed -n 1p)" "freq 1: step 3"
train last --validation.enable --validation.freq=100 --training.steps=8
same "$(evals last)" "$(evals whole | tail -n 1)" "freq 100"
train never --training.steps=8
same "$(evals never)" "" "without validation.enable"
same "$(history never)" "$want" "without validation.enable: history"

# A run with nothing to do says the held-out loss of what is there.
train last --validation.enable --training.steps=8
expect 0 "nothing to do"
says '^held-out loss ' "nothing to do"
grep -q 'tok/s' "$room/out" && fail "nothing to do: the head of a table without lines"
finish
