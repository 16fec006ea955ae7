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
guess='^the first step takes about' # on a machine that is busy
closed_from_start() { # NAME REDIRECTIONS
    code=0
    eval '"$BIN" train $config --run.dir="$room/$1" --training.steps=3 --metrics.log_freq=1 --checkpoint.interval=1' \
        "$2" || code=$?
    [ $code -le 1 ] || fail "train $2: exit $code"
    diff -r "$room/open/checkpoints" "$room/$1/checkpoints" || fail "train $2: another result"
    same "$(history "$1")" "$(history open)" "train $2: history"
    for file in metrics.jsonl log.txt config.toml; do
        same "$(grep -vc "$guess" "$room/$1/$file")" "$(grep -vc "$guess" "$room/open/$file")" "train $2: lines of $file"
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

# In a pipe and in log.txt: the units once, then plain lines of one width, every log_freq steps.
train plain --training.steps=20 --metrics.log_freq=5
lines='^ *[0-9]*/20 '
want="1/20 5/20 10/20 15/20 20/20 "
same "$(sed -n 's:^ *\([0-9]*/20\) .*:\1:p' "$room/out" | tr '\n' ' ')" "$want" "progress lines in a pipe"
says '^ *step +loss .*tok/s FLOP/s' "the head in a pipe"
same "$(grep -c 'tok/s' "$room/out")" 1 "units are said once"
same "$(grep -e "$lines" -e '^ *step ' "$room/plain/log.txt")" "$(grep -e "$lines" -e '^ *step ' "$room/out")" "log.txt"
same "$(awk '/^ *[0-9]+\/20 / || /^ *step / { print length($0) }' "$room/out" | sort -u | wc -l)" 1 "widths in a pipe"
esc=$(printf '[\033\r]')
grep -q "$esc" "$room/out" && fail "control characters in a pipe"

# On a terminal of so many columns: one live line that fits, of one width, whatever the figures.
terminal() { # COLUMNS NAME
    script -qec "stty cols $1; $BIN train $config --run.dir=$room/$2 --run.threads=1 --training.steps=20" /dev/null </dev/null \
        >"$room/raw" 2>&1 || fail "train on a terminal of $1 columns: exit $?"
    tr '\r' '\n' <"$room/raw" | sed 's/.\[K$//' >"$room/out"
    same "$(grep -c "$lines" "$room/out")" 20 "live lines on a terminal of $1 columns"
    awk -v most="$1" '/^ *[0-9]+\/20 / || /^ *step / { n[length($0)]++; if (length($0) >= most) bad = 1 }
                      END { for (i in n) kinds++; exit bad || kinds != 1 }' "$room/out" ||
        fail "on a terminal of $1 columns lines are too wide, or of different widths"
    says '^digest of step 20: ' "the digest stands on a line of its own"
    same "$(grep -e "$lines" "$room/$2/log.txt" | wc -l)" 3 "log.txt of a run on a terminal"
    same "$(grep '^ *step ' "$room/$2/log.txt")" "$(grep '^ *step ' "$room/plain/log.txt")" "log.txt has all columns"
}
if script -qec true /dev/null >/dev/null 2>&1; then
    terminal 80 wide
    says '^ *step +loss .* dead$' "all columns"
    terminal 40 narrow
    says '^ *step +loss .*left' "40 columns: what matters most"
    terminal 12 tiny
    # made narrower while it runs: the line is cut
    script -qec "stty cols 79; $BIN train $config --run.dir=$room/cut --training.steps=200 --run.threads=1 & sleep 0.3; stty cols 30; wait" \
        /dev/null </dev/null >"$room/raw" 2>&1
    tr '\r' '\n' <"$room/raw" | sed 's/.\[K$//' | grep '^ *[0-9]*/200 ' | tail -n 1 >"$room/out"
    awk 'length($0) > 29 { bad = 1 } END { exit bad || NR != 1 }' "$room/out" || fail "a terminal made narrower: $(cat "$room/out")"
fi
finish
