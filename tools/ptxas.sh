#!/bin/sh
# ptxas.sh write|check REPORT NVCC FILE.cu.o.ptxas...: what ptxas made of every kernel, from what it said while it compiled
# them: a line each with registers, shared memory (that the launch adds is not in it), stack and spills, in bytes.
# write: to REPORT. check: exit 1 with the lines that differ from REPORT's; where nvcc is of another version, a line says so.
set -eu
what=$1 report=$2 nvcc=$3
shift 3
version=$("$nvcc" --version | sed -n 's/.*, \(V[0-9][0-9.]*\)$/\1/p')
[ -n "$version" ] || { echo "ptxas: $nvcc says no version" >&2; exit 2; }
command -v c++filt >/dev/null || { echo "ptxas: c++filt (binutils) names the kernels: it is not here" >&2; exit 2; }
made=$(mktemp "${TMPDIR:-/tmp}/switchyard.XXXXXX")
trap 'rm -f "$made"' EXIT
echo "# nvcc $version, sm_90a: registers, shared memory, stack, spill stores and loads of each kernel; made by make ptxas" >"$made"
for file in "$@"; do
    [ -s "$file" ] || { echo "ptxas: $file: nothing there: build it first" >&2; exit 2; }
done
for file in "$@"; do
    awk -v source="$(basename "$file" .o.ptxas)" '
        /Function properties for/ { name = $NF }
        /bytes stack frame/ { stack = $1; stores = $5; loads = $9 }
        / Used [0-9]+ registers/ {
            shared = match($0, /[0-9]+ bytes smem/) ? substr($0, RSTART, RLENGTH) + 0 : 0
            printf "%-20s %4d %6d %5d %5d %5d  %s\n", source, $5, shared, stack, stores, loads, name
        }' "$file"
done | c++filt | sed 's/  void /  /; s/\((anonymous namespace)\)/\1/; s/(\([^()]*\|([^()]*)\)*)$//' | LC_ALL=C sort -k1,1 -k7 >>"$made"
[ "$(wc -l <"$made")" -gt 1 ] || { echo "ptxas: there is no kernel in $*" >&2; exit 2; }
if [ "$what" = write ]; then
    cp "$made" "$report"
elif [ "$(head -n 1 "$report")" != "$(head -n 1 "$made")" ]; then
    echo "$report is not compared: it is of $(sed -n '1s/^# nvcc \([^,]*\),.*/nvcc \1/p' "$report"), here is nvcc $version"
elif ! diff "$report" "$made"; then
    echo "$report (<) is not what ptxas says (>): look at it, then make ptxas" >&2
    exit 1
fi
