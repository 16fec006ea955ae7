#!/bin/sh
# Flips single bits of a copy of a checkpoint and asks `switchyard inspect` each time: every flip must be found and its file
# named, exit 3. Half of the flips choose a byte of all bytes, half choose a file first, so that small files get their share.
#   usage: tools/flip_bits.sh N CHECKPOINT [SEED]          SWITCHYARD=build/switchyard
set -eu
if [ $# -lt 2 ] || [ ! -f "$2/switchyard.json" ]; then
    echo "usage: $0 N CHECKPOINT [SEED]" >&2
    exit 2
fi
n=$1 from=$2 seed=${3:-1} program=${SWITCHYARD:-build/switchyard}
room=$(mktemp -d "${TMPDIR:-/tmp}/flip_bits.XXXXXX")
trap 'rm -rf "$room"' EXIT INT TERM
cp -R "$from" "$room/copy"
"$program" inspect "$room/copy" >/dev/null || { echo "$from: damaged before the first flip" >&2; exit 1; }

(cd "$room/copy" && find . -type f | LC_ALL=C sort | while read -r f; do echo "$(wc -c <"$f") ${f#./}"; done) >"$room/sizes"
awk -v n="$n" -v seed="$seed" '
    { size[NR] = $1; name[NR] = $2; all += $1 }
    END {
        srand(seed)
        for (i = 0; i < n; i++) {
            k = 1 + int(rand() * NR)
            if (i % 2) {
                at = int(rand() * all)
                for (k = 1; at >= size[k]; k++) at -= size[k]
            } else
                at = int(rand() * size[k])
            if (size[k] > 0) print name[k], at, int(rand() * 8)
        }
    }' "$room/sizes" >"$room/flips"

put() { # FILE BYTE VALUE
    printf '%b' "\\0$(printf %03o "$3")" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}
done_=0 found=0
while read -r name at bit; do
    file=$room/copy/$name
    was=$(od -An -tu1 -j "$at" -N 1 "$file" | tr -d ' ')
    put "$file" "$at" $((was ^ (1 << bit)))
    code=0
    "$program" inspect "$room/copy" >"$room/out" 2>&1 || code=$?
    if [ $code -eq 3 ] && grep -qF "${name##*/}" "$room/out"; then
        found=$((found + 1))
    else
        echo "not found: $name byte $at bit $bit (exit $code)"
    fi
    put "$file" "$at" "$was"
    done_=$((done_ + 1))
done <"$room/flips"
"$program" inspect "$room/copy" >/dev/null || { echo "the copy was not restored" >&2; exit 1; }
echo "$found of $done_ single-bit flips detected and named"
[ "$found" -eq "$done_" ]
