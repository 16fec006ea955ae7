#!/bin/sh
# sanitize.sh BUILD: compute-sanitizer's tools over a few calls of every op; says which found something. Exit 77 without it.
set -u
build=$1
tool=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null) || { echo "no compute-sanitizer"; exit 77; }
bad=0
for check in memcheck racecheck initcheck synccheck; do
    log=$(mktemp "${TMPDIR:-/tmp}/switchyard.XXXXXX")
    timeout 120 "$tool" --tool $check --target-processes all --print-limit 5 "$build/tests/gpu/test_ops" --calls 3 >"$log" 2>&1
    rc=$?
    summary=$(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$log" | sort | uniq -c | tr '\n' ' ')
    echo "$check: exit $rc, $(grep -c ' 0 differ' "$log") ops, $summary"
    if [ $rc -ne 0 ] || grep -E 'ERROR SUMMARY: [1-9]|SUMMARY: [1-9][0-9]* hazard' "$log" >/dev/null; then
        bad=1
        grep -vE ' 0 differ|^=+ *$' "$log" | head -40
    fi
    rm -f "$log"
done
exit $bad
