#!/bin/sh
# Two programs beside each other on a machine that is never quiet: `bench model` of OLD and NEW in turn, PAIRS
# times, the order changing with each pair. Of every part the medians in ms and the median of the pairs' ratios
# OLD / NEW: above 1, NEW is faster. Exit 1 if a run fails or their digests differ. With -- --cpu the time of
# processors instead of the wall clock: for a machine that others use.
# usage: bench/paired.sh OLD [NEW, else build/switchyard] [-- what bench model takes: CONFIG --section.key=value]
#        PAIRS=7 STEPS=3 (measured steps of a run)
set -eu
[ $# -ge 1 ] || { sed -n '2,7s/^# //p' "$0" >&2; exit 2; }
old=$1
shift
new=build/switchyard
if [ $# -gt 0 ] && [ "$1" != -- ]; then
    new=$1
    shift
fi
[ $# -eq 0 ] || shift
pairs=${PAIRS:-7} steps=${STEPS:-3}
dir=$(mktemp -d "${TMPDIR:-/tmp}/paired.XXXXXX")
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM HUP

run() { # NAME BINARY PAIR bench's arguments
    name=$1 bin=$2 pair=$3
    shift 3
    "$bin" bench model --json --steps "$steps" "$@" >"$dir/out" || { echo "$bin failed" >&2; exit 1; }
    sed "s/^/$name $pair /" "$dir/out" >>"$dir/all"
}
i=1
while [ "$i" -le "$pairs" ]; do
    if [ $((i % 2)) -eq 1 ]; then
        run old "$old" $i "$@"
        run new "$new" $i "$@"
    else
        run new "$new" $i "$@"
        run old "$old" $i "$@"
    fi
    i=$((i + 1))
done

# who, pair, config, key, value: one number a line; digests apart.
awk '{
    who = $1; pair = $2; line = $0
    match(line, /"config":"[^"]*"/); config = substr(line, RSTART + 10, RLENGTH - 11)
    while (match(line, /"[a-z0-9_]+":[0-9."][^,}]*/)) {
        item = substr(line, RSTART, RLENGTH); line = substr(line, RSTART + RLENGTH)
        split(item, pairs, ":"); gsub(/"/, "", pairs[1]); gsub(/"/, "", pairs[2])
        print who, pair, config, pairs[1], pairs[2]
    }
}' "$dir/all" >"$dir/items"
awk -v n="$pairs" '
    function median(list, count,   a, i, j, t) {
        split(list, a, " ")
        for (i = 2; i <= count; i++)
            for (j = i; j > 1 && a[j - 1] + 0 > a[j] + 0; j--) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
        return count % 2 ? a[(count + 1) / 2] : (a[count / 2] + a[count / 2 + 1]) / 2
    }
    $4 ~ /^(config|bench|class|tier|steps|threads|tokens|tokens_per_s)$/ { next }
    {
        key = $3 SUBSEP $4
        if (!(key in seen)) { seen[key] = 1; order[++keys] = key }
        value[$1, key, $2] = $5
    }
    END {
        for (k = 1; k <= keys; k++) {
            key = order[k]; split(key, name, SUBSEP); o = w = q = ""; both = nonzero = 0; equal = 1
            for (i = 1; i <= n; i++) {
                a = value["old", key, i]; b = value["new", key, i]
                if (a == "" || b == "") continue
                both++; o = o " " a; w = w " " b; q = q " " (b > 0 ? a / b : a > 0 ? 999 : 1)
                nonzero += a + b > 0; equal = equal && a == b && a == value["old", key, 1]
            }
            if (name[1] != config) {
                printf "%s%s: medians of %d pairs\n", config == "" ? "" : "\n", name[1], n
                printf "%-28s %12s %12s %9s\n", "", "old", "new", "old/new"
                config = name[1]
            }
            if (name[2] == "weights_digest") {
                printf "%-28s %s\n", "digest", both == n && equal ? "the same" : "DIFFERENT"
                bad += both < n || !equal
            } else if (both == 0) {
                printf "%-28s of one program alone\n", name[2]
            } else if (nonzero) {
                printf "%-28s %12.3f %12.3f %9.3f\n", name[2], median(o, both), median(w, both), median(q, both)
            }
        }
        exit bad > 0
    }' "$dir/items"
