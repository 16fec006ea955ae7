#!/bin/sh
# Lets every system call of a resume and of a save fail, one after another, and checks what is left.
#
# A run of 3 steps is copied with its checkpoints of steps 1 and 2 and resumed under tools/fault_shim.c: it finds, verifies
# and loads step 2, trains one step and saves step 3. The n-th call on a file under checkpoints/ fails, for every n and kind.
#   eintr, short    must not be noticed: exit 0, the same digest
#   enospc, eio     a clear error (exit 1 or 3) or a warning (exit 0), never a crash. Then the same command without the
#                   shim must end with the digest of the undisturbed run: what was there is whole, nothing half-written
#                   is loaded
#   usage: tools/inject_faults.sh [STRIDE [CONFIG]]          SWITCHYARD=build/switchyard, CC=cc
set -eu
stride=${1:-1} config=${2:-configs/micro_gqa.toml} program=${SWITCHYARD:-build/switchyard}
room=$(mktemp -d "${TMPDIR:-/tmp}/inject_faults.XXXXXX")
trap 'rm -rf "$room"' EXIT INT TERM
${CC:-cc} -shared -fPIC -O1 -w -o "$room/shim.so" tools/fault_shim.c -ldl

train() { # RUN
    "$program" train "$config" --run.dir="$1" --training.steps=3 --checkpoint.interval=1 --checkpoint.keep_latest_k=2 \
        --run.threads=1
}
digest() { # RUN
    sed -n 's/^  "weights_digest": "\(.*\)",$/\1/p' "$1/checkpoints/step-00000003/switchyard.json" 2>/dev/null || true
}
again() { # a fresh copy of the run after step 2
    rm -rf "$room/run"
    cp -R "$room/base" "$room/run"
}
shimmed() { # N KIND STICKY
    env LD_PRELOAD="$room/shim.so" SY_FAULT_PATH=/checkpoints SY_FAULT_N="$1" SY_FAULT_KIND="$2" SY_FAULT_STICKY="$3" \
        SY_FAULT_REPORT="$room/report" "$program" train "$config" --run.dir="$room/run" --training.steps=3 \
        --checkpoint.interval=1 --checkpoint.keep_latest_k=2 --run.threads=1
}

"$program" train "$config" --run.dir="$room/base" --training.steps=3 --checkpoint.interval=1 --checkpoint.keep_latest_k=0 \
    --run.threads=1 >/dev/null 2>&1
want=$(digest "$room/base")
[ -n "$want" ] || { echo "the undisturbed run has no checkpoint of step 3" >&2; exit 1; }
rm -rf "$room/base/checkpoints/step-00000003"
again
shimmed 0 eio 0 >/dev/null 2>&1
read -r points _ <"$room/report"
[ "$points" -gt 0 ] || { echo "the shim saw no call" >&2; exit 1; }
[ "$(digest "$room/run")" = "$want" ] || { echo "a resumed run ends with another digest" >&2; exit 1; }

bad=0 all=0
for kind in "eintr 0" "short 0" "enospc 0" "enospc 1" "eio 0" "eio 1"; do
    errors=0 warnings=0 unnoticed=0 tried=0 n=1
    while [ "$n" -le "$points" ]; do
        again
        code=0 why=
        # shellcheck disable=SC2086
        shimmed "$n" $kind >"$room/out" 2>&1 || code=$?
        read -r _ call <"$room/report" || call=unknown
        case $code in
        0)
            if grep -q '^warning:' "$room/out"; then
                warnings=$((warnings + 1))
            else
                unnoticed=$((unnoticed + 1))
                [ -z "$(find "$room/run/checkpoints" -name '.tmp-*')" ] || why="leftovers and no warning"
            fi
            ;;
        1 | 3)
            errors=$((errors + 1))
            grep -q '^switchyard: ' "$room/out" || why="no message"
            ;;
        *) why="exit $code" ;;
        esac
        case $kind in
        eintr* | short*) [ $code -eq 0 ] || why="exit $code, must not be noticed" ;;
        esac
        if [ -z "$why" ]; then # whatever happened, the run goes on to the same bits
            train "$room/run" >"$room/out2" 2>&1 || why="cannot be resumed: $(tail -n 1 "$room/out2")"
            [ -n "$why" ] || [ "$(digest "$room/run")" = "$want" ] || why="another digest"
        fi
        if [ -n "$why" ]; then
            bad=$((bad + 1))
            echo "call $n ($call), $kind: $why: $(grep '^switchyard: ' "$room/out" | head -n 1)"
        fi
        tried=$((tried + 1))
        n=$((n + stride))
    done
    all=$((all + tried))
    name=$(echo "$kind" | sed 's/ 0//; s/ 1/ from then on/')
    echo "$name: $tried of $points points: $errors errors, $warnings warnings, $unnoticed without effect"
done
echo "$((all - bad)) of $all injected faults ended well"
[ "$bad" -eq 0 ]
