# Where output goes: pipes, closed pipes, a full disk, a terminal. Nothing crashes, nothing is lost in silence.
. tests/lib/check.sh

# closed WHAT COMMAND...: its reader reads one line (or none) and leaves; the exit code must be no signal's.
closed() {
    what=$1
    shift
    for reader in "head -n 1" true; do
        { code=0; "$BIN" "$@" 2>"$room/err" || code=$?; echo $code >"$room/code"; } | $reader >/dev/null
        code=$(cat "$room/code")
        [ "$code" -le 2 ] || fail "$what | $reader: exit $code"
    done
}
closed help help
closed "help model" help model
closed init init --flavor dsv3-671b
closed info info
closed plan plan configs/micro_gqa.toml
closed verify verify $config --steps 1 --break swap_sequences
train run --training.steps=2
closed inspect inspect "$room/run"
closed generate generate "$room/run" --prompt x --max-tokens 300

# A trainer whose readers all left goes on and saves.
{ code=0; "$BIN" train $config --run.dir="$room/piped" --training.steps=8 --metrics.log_freq=1 2>&1 || code=$?; echo $code >"$room/code"; } |
    head -n 1 >/dev/null
[ "$(cat "$room/code")" -le 1 ] || fail "train | head: exit $(cat "$room/code")"
[ -e "$(checkpoint piped 8)/switchyard.json" ] || fail "train | head: not trained to the end"
# Descriptors that are closed from the start, each and all: nothing that is meant for them lands in a file of the run.
train open --training.steps=3 --metrics.log_freq=1 --checkpoint.interval=1
closed_from_start() { # NAME REDIRECTIONS
    code=0
    eval '"$BIN" train $config --run.dir="$room/$1" --training.steps=3 --metrics.log_freq=1 --checkpoint.interval=1' \
        "$2" || code=$?
    [ $code -le 1 ] || fail "train $2: exit $code"
    diff -r "$room/open/checkpoints" "$room/$1/checkpoints" || fail "train $2: another result"
    same "$(history "$1")" "$(history open)" "train $2: history"
    for file in metrics.jsonl log.txt config.toml; do
        same "$(wc -l <"$room/$1/$file")" "$(wc -l <"$room/open/$file")" "train $2: lines of $file"
    done
    grep -v '^{"kind":"train".*}$' "$room/$1/metrics.jsonl" && fail "train $2: other lines in metrics.jsonl"
}
closed_from_start closed_in '<&- >/dev/null 2>&1'
closed_from_start closed_out '>&- 2>/dev/null'
same $code 1 "results that go nowhere: exit code"
closed_from_start closed_error '2>&- >/dev/null'
closed_from_start closed_both '>&- 2>&-'
closed_from_start closed_all '<&- >&- 2>&-'

# A full disk is an error, not a success.
if [ -w /dev/full ]; then
    for command in help info "plan $config" "init --flavor micro_mla" "help training"; do
        code=0
        # shellcheck disable=SC2086
        "$BIN" $command >/dev/full 2>"$room/err" || code=$?
        [ $code -eq 1 ] || fail "$command to a full disk: exit $code, not 1"
    done
fi

# In a pipe: plain lines; each every log_freq steps. On a terminal: one live line that fits.
train plain --training.steps=20 --metrics.log_freq=5
same "$(grep -c '^[0-9]*/20 loss' "$room/out")" 5 "progress lines in a pipe: steps 1, 5, 10, 15, 20"
esc=$(printf '[\033\r]')
grep -q "$esc" "$room/out" && fail "control characters in a pipe"
if script -qec true /dev/null >/dev/null 2>&1; then
    script -qec "$BIN train $config --run.dir=$room/tty --training.steps=20" /dev/null </dev/null >"$room/out" 2>&1 ||
        fail "train on a terminal: exit $?"
    live=$(tr '\r' '\n' <"$room/out" | grep -c '^[0-9]*/20 loss')
    same "$live" 20 "live lines on a terminal"
    tr '\r' '\n' <"$room/out" | sed 's/.\[K$//' | awk '/^[0-9]+\/20 loss/ && length($0) > 79 { bad = 1 } END { exit bad }' ||
        fail "a live line is wider than 79 columns"
    tr '\r' '\n' <"$room/out" | grep -q '^digest of step 20: ' || fail "the digest does not stand on a line of its own"
fi
finish
