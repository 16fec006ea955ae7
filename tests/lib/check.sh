# Shared by the test scripts: the program, a room that is removed at the end, checks that count. Scripts run from the root
# of the repository, say nothing when all is well, and end with `finish`.
set -u
BIN=${BIN:-build/switchyard}
room=$(mktemp -d "${TMPDIR:-/tmp}/switchyard.XXXXXX")
trap 'rm -rf "$room"' EXIT
trap 'exit 1' INT TERM HUP
bad=0
config=configs/micro_gqa.toml
code=0

fail() {
    echo "FAILED: $*"
    bad=$((bad + 1))
}
finish() {
    [ $bad -eq 0 ] || echo "$bad checks failed"
    exit $((bad > 0))
}

# Runs the program; its exit code in $code, all that it printed in $room/out.
run() {
    code=0
    "$BIN" "$@" >"$room/out" 2>&1 || code=$?
}
# train RUN [option...]: the config in $config, in $room/RUN, two threads.
train() {
    dir=$room/$1
    shift
    run train "$config" --run.dir="$dir" --run.threads=2 "$@"
}
# expect CODE WHAT: the exit code of the last run.
expect() {
    [ $code -eq "$1" ] || { fail "$2: exit $code, not $1"; tail -n 5 "$room/out"; }
}
# says PATTERN WHAT: the last run printed a line that matches (grep -E).
says() {
    grep -qE -- "$1" "$room/out" || { fail "$2: no line matches: $1"; tail -n 5 "$room/out"; }
}
# same A B WHAT: two texts.
same() {
    [ "$1" = "$2" ] && return
    echo "$1" >"$room/is"
    echo "$2" >"$room/should"
    fail "$3:"
    diff "$room/is" "$room/should" | head -n 6
}
# differ A B WHAT
differ() {
    [ "$1" != "$2" ] || fail "$3: both are $1"
}

# The digest that the last run printed at its end.
digest() {
    sed -n 's/^digest of step [0-9]*: \([0-9a-f]\{32\}\)$/\1/p' "$room/out"
}
# history RUN: step, loss_bits, grad_norm_bits and weights_digest of every line of its metrics.
history() {
    sed -n 's/^{"kind":"train","step":\([0-9]*\),.*"loss_bits":"\([0-9a-f]*\)".*"grad_norm_bits":"\([0-9a-f]*\)".*"weights_digest":"\([0-9a-f]*\)".*/\1 \2 \3 \4/p' \
        "$room/$1/metrics.jsonl"
}
# checkpoint RUN STEP: its folder.
checkpoint() {
    printf '%s/%s/checkpoints/step-%08d' "$room" "$1" "$2"
}
# copy_until FROM TO STEP: a copy of a run as if it had died right after STEP's checkpoint (later metrics stay).
copy_until() {
    rm -rf "${room:?}/$2"
    cp -R "$room/$1" "$room/$2"
    for c in "$room/$2"/checkpoints/step-*; do
        n=$(echo "${c##*step-}" | sed 's/^0*//')
        [ "${n:-0}" -le "$3" ] || rm -rf "$c"
    done
}
# wait_for FILE PATTERN: until it has such a line; 60 s at most.
wait_for() {
    tries=0
    until grep -q -- "$2" "$1" 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -lt 1200 ] || { fail "$1 has no line '$2' after 60 s"; return 1; }
        sleep 0.05
    done
}
# flip_byte FILE OFFSET: inverts its lowest bit.
flip_byte() {
    was=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
    printf "\\$(printf %03o $((was ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}
