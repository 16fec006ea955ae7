#!/bin/sh
# What a training step gains from threads, beside what the register-only peak gains in the same run (`bench scaling`): the machine
# by lscpu, then dsv3_debug and gqa_debug by 1, 2, 4 ... threads in turn, op by op. Exit 1 if with the most threads a step gains less
# than LEAST of what the peak does. The program alone is needed; a static one runs anywhere (make STATIC=1 BUILD=DIR DIR/switchyard).
# usage: [LEAST=0.75] bench/scaling.sh [BIN] [CONFIG ...] [--steps 3] [--threads 1,2,16] [--section.key=value ...]
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
bin=${1:-$here/build/switchyard}
[ $# -eq 0 ] || shift
out=$(mktemp "${TMPDIR:-/tmp}/scaling.XXXXXX")
trap 'rm -f "$out"' EXIT
LC_ALL=C lscpu 2>&1 | grep -E '^(lscpu:|Model name|CPU\(s\)|Thread\(s\) per core|Core\(s\) per socket|Socket\(s\)|NUMA node|L[123]|Hypervisor)' ||
    echo "lscpu: says nothing here"
"$bin" --version
sed 's/^/load: /' /proc/loadavg
case " $* " in *" --steps"*) ;; *) set -- --steps 3 "$@" ;; esac
"$bin" bench scaling "$@" >"$out" || { cat "$out"; exit 1; }
cat "$out"
sed -n 's/^with \([0-9]*\) threads: \([0-9.]*\) of what the peak gains.*/\1 \2/p' "$out" | awk -v least="${LEAST:-0.75}" '
    { print ($2 >= least ? "ok:" : "LESS:"), $2, "of the peak'"'"'s gain with", $1, "threads, bound", least; bad += $2 < least }
    END { exit bad > 0 || !NR }'
