#!/bin/sh
# The demo: trains configs/tiny.toml on examples/data/short_pieces.jsonl in a new folder, prints a sample, the
# held-out loss and whether the weights are, bit for bit, those that the README states.
#   usage: tools/demo.sh PROGRAM [--section.key=value ...]   any option: nothing to compare with, which is said
#          tools/demo.sh --check [--section.key=value ...]   only whether the text has the bytes it should
set -eu
if [ $# -lt 1 ]; then
    echo "usage: tools/demo.sh PROGRAM [--section.key=value ...]" >&2
    exit 2
fi
program=$1 config=configs/tiny.toml text=examples/data/short_pieces.jsonl
want_text=8afe3b2a204fe66a0d9850f344a3400ec78e94502a29ac153da71c112bbda5e6
shift
own_data=0
for option in "$@"; do
    case $option in --training.dataset_path* | --training.dataset-path*) own_data=1 ;; esac
done

check_text() {
    have=$(sha256sum "$text" 2>/dev/null | cut -d' ' -f1)
    [ "$have" = "$want_text" ] && return
    if [ -z "$have" ]; then
        echo "demo: $text cannot be read" >&2
    else
        echo "demo: $text is not the text that the README's digest was made from: sha256 $have, not $want_text" >&2
    fi
    echo "demo: to train on text of your own: ./run demo --training.dataset_path=DIR" >&2
    return 1
}
[ $own_data -eq 1 ] || check_text
[ "$program" != --check ] || exit 0

mkdir -p runs
dir=$(mktemp -d runs/demo-XXXXXX)
chmod 755 "$dir"
echo "training $config in $dir; Ctrl-C saves and stops"
code=0
"$program" train "$config" --run.dir="$dir" "$@" >"$dir/summary.txt" || code=$?
if [ $code -ne 0 ]; then
    cat "$dir/summary.txt"
    exit $code
fi

echo
echo "a sample, $program generate $dir --prompt \"The \" --max-tokens 200 --temperature 0.8 --seed 1:"
echo
"$program" generate "$dir" --prompt "The " --max-tokens 200 --temperature 0.8 --seed 1
echo
echo
line=$(grep '^held-out loss ' "$dir/summary.txt" || true)
if [ -n "$line" ]; then
    loss=$(echo "$line" | sed 's/^held-out loss \([0-9.]*\) .*/\1/')
    unigram=$(echo "$line" | sed 's/.*unigrams \([0-9.]*\) .*/\1/')
    awk -v a="$loss" -v b="$unigram" 'BEGIN {
        printf "held-out loss         %.4f nats per byte\nbyte-unigram entropy  %.4f nats per byte, %.4f more\n", a, b, b - a }'
fi
digest=$(grep '^digest of step ' "$dir/summary.txt")
if [ $# -gt 0 ]; then
    echo "$digest — not compared with the README's, which was made without $*"
    exit 0
fi
# The README's line holds `digest of step N` and 32 hex digits between backticks.
step=$(echo "$digest" | sed 's/^digest of step \([0-9]*\): .*/\1/')
want=$(sed -n "s/.*digest of step ${step}[^0-9].*\`\([0-9a-f]\{32\}\)\`.*/\1/p" README.md | head -n 1)
if [ -z "$want" ]; then
    echo "$digest — README.md states none to compare with"
    exit 1
elif [ "$digest" != "digest of step $step: $want" ]; then
    echo "$digest — NOT the README's $want: please report this with the output of \`$program info\`"
    exit 1
fi
echo "$digest — the same as in the README"
