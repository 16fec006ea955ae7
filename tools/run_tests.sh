#!/bin/sh
# Runs test programs and scripts: a line each with its seconds, the log of those that failed, a summary; exit 1 if any did.
# Where nothing ended for 15 s, a line says what is running.
#   usage: tools/run_tests.sh BUILD PROGRAM...     also tests/e2e/*.sh and tests/cli/*.sh, with BIN=BUILD/switchyard
#   JOBS=n   so many at a time (default: the processors)      ONLY="name ..."   only these
#   SAY_AFTER=n  seconds without a line after which one says what is running (15)
#   LIMIT=n  seconds after which a test is ended and has failed; its log then has what ran (1800)
#   QUICK=1  fewer layouts and repeats, for the sanitizers
# A program replay_<x> gets tests/fuzz/corpus/<x>. With --one TEST it runs that test alone; LOGS says where its log goes.
set -u
command_of() { # TEST: sets name and command
    case $1 in
    *.sh) name=$(basename "$(dirname "$1")")_$(basename "$1" .sh) command="sh $1" ;;
    */replay_*) name=${1##*/} command="$1 tests/fuzz/corpus/${1##*/replay_}" ;;
    *) name=${1##*/} command=$1 ;;
    esac
}
# Moved into place: who reads it at that moment never finds it empty.
said_now() { date +%s >"$LOGS/said.$$" && mv "$LOGS/said.$$" "$LOGS/said"; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }

if [ "${1-}" = --one ]; then
    command_of "$2"
    begin=$(now_ms)
    verdict=ok
    echo "$(date +%s) $$" >"$LOGS/$name.runs"
    $command >>"$LOGS/$name.log" 2>&1 </dev/null || verdict=FAILED
    ms=$(($(now_ms) - begin))
    rm -f "$LOGS/$name.runs"
    [ ! -e "$LOGS/$name.late" ] || verdict=FAILED
    [ $verdict = ok ] && touch "$LOGS/$name.ok"
    said_now
    printf '%-6s %4d.%d s  %s\n' $verdict $((ms / 1000)) $((ms / 100 % 10)) "$name"
    exit 0
fi

if [ $# -lt 1 ]; then
    echo "usage: tools/run_tests.sh BUILD PROGRAM..." >&2
    exit 2
fi
build=$1
shift
LOGS=$(mktemp -d "${TMPDIR:-/tmp}/switchyard-tests.XXXXXX")
talker=
trap '[ -z "$talker" ] || kill $talker 2>/dev/null; rm -rf "$LOGS"' EXIT
trap 'exit 130' INT TERM HUP
BIN=$build/switchyard QUICK=${QUICK-}
export BIN LOGS QUICK
# Sizes that no machine has must come back as errors of ours.
export ASAN_OPTIONS="allocator_may_return_null=1:${ASAN_OPTIONS-}" TSAN_OPTIONS="allocator_may_return_null=1:${TSAN_OPTIONS-}"

names=
for test in tests/e2e/*.sh tests/cli/*.sh "$@"; do
    command_of "$test"
    case " ${ONLY-$name} " in *" $name "*) ;; *) continue ;; esac
    [ -e "$test" ] && names="$names $name" && echo "$test" >>"$LOGS/tests"
done
if [ -z "$names" ]; then
    echo "there is no test '${ONLY-}'" >&2
    exit 2
fi
twice=$(echo "$names" | tr ' ' '\n' | sort | uniq -d | tr '\n' ' ')
if [ -n "${twice# }" ]; then # the one that passes would hide the other
    echo "two tests have the same name: $twice" >&2
    exit 2
fi
# The line of a test that takes long: its seconds so far, and the last that it said, if it says anything.
say_running() {
    for runs in "$LOGS"/*.runs; do
        name=$(basename "$runs" .runs)
        read -r since pid 2>/dev/null <"$runs" || continue # it has just ended
        said=$(tail -n 1 "$LOGS/$name.log" 2>/dev/null | cut -c1-50)
        printf 'runs   %4d   s  %s%s\n' $(($(date +%s) - since)) "$name" "${said:+: $said}"
    done
    said_now
}
# The processes below PID, a line each: "pid state wait-channel command".
below() {
    for status in /proc/[0-9]*/status; do
        sed -n 's/^PPid:[[:space:]]*//p' "$status" 2>/dev/null | sed "s|\$| ${status#/proc/}|"
    done | awk -v top="$1" '{ sub("/status", "", $2); up[$2] = $1 }
        END { for (p in up) for (q = up[p]; q; q = up[q]) if (q == top) { print p; break } }' | while read -r pid; do
        echo "$pid $(sed -n 's/^State:[[:space:]]*//p' "/proc/$pid/status" 2>/dev/null) $(cat "/proc/$pid/wchan" 2>/dev/null)" \
            "$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline")"
    done
}
end_the_late() {
    for runs in "$LOGS"/*.runs; do
        read -r since pid 2>/dev/null <"$runs" || continue
        [ $(($(date +%s) - since)) -ge "${LIMIT:-1800}" ] && [ ! -e "${runs%.runs}.late" ] || continue
        left=$(below "$pid")
        printf 'ended after %s s; then there were:\n%s\n' "${LIMIT:-1800}" "$left" |
            tee "${runs%.runs}.late" >>"${runs%.runs}.log"
        echo "$left" | while read -r pid rest; do kill -KILL "$pid"; done 2>/dev/null
    done
}
keep_talking() {
    while sleep 1 >/dev/null 2>&1; do
        end_the_late
        [ $(($(date +%s) - $(cat "$LOGS/said"))) -lt "${SAY_AFTER:-15}" ] || say_running
    done
}
begin=$(date +%s)
echo "$begin" >"$LOGS/said"
keep_talking &
talker=$!
xargs -n 1 -P "${JOBS:-$(nproc 2>/dev/null || echo 2)}" sh tools/run_tests.sh --one <"$LOGS/tests"
kill $talker
all=0 failed=0
for name in $names; do
    all=$((all + 1))
    [ -e "$LOGS/$name.ok" ] && continue
    failed=$((failed + 1))
    echo "---- $name"
    tail -n 60 "$LOGS/$name.log"
done
echo "$((all - failed)) of $all tests passed in $(($(date +%s) - begin)) s"
[ $failed -eq 0 ]
