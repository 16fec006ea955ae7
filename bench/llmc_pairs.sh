#!/bin/sh
# Training steps of a dense model by llm.c's train_gpt2 (github.com/karpathy/llm.c, a clone of it) and by switchyard in turn, PAIRS
# times: 6 layers, 512 wide, 8 heads, vocabulary 272, 4 x 256 tokens; llm.c's with GELU of 2048, ours with SwiGLU of 1365, so that
# both have 18.9 M parameters in matrices. Milliseconds of a step, medians, and the median of the pairs' ratios. Wall clock; with
# CPU=1 processor time, for THREADS=1 on a machine that others use.
# usage: [PAIRS=5 THREADS=2 CPU=1 PYTHON=python3] bench/llmc_pairs.sh LLM.C [BIN]
set -eu
[ $# -ge 1 ] || { sed -n '2,7s/^# //p' "$0" >&2; exit 2; }
llmc=$(cd "$1" && pwd) bin=${2:-build/switchyard} pairs=${PAIRS:-5} threads=${THREADS:-2}
case $bin in /*) ;; *) bin=$PWD/$bin ;; esac
dir=$(mktemp -d "${TMPDIR:-/tmp}/llmc.XXXXXX")
trap 'rm -rf "$dir"' EXIT
clock=${CPU:+CLOCK_PROCESS_CPUTIME_ID}
sed -e 's/int T = [0-9]*;/int T = 256;/' -e 's/step <= 40/step <= 4/' -e 's/step % 10 == 0/0/' -e 's/step > 0 && step % 20 == 0/0/' \
    -e "s/clock_gettime(CLOCK_MONOTONIC,/clock_gettime(${clock:-CLOCK_MONOTONIC},/" "$llmc/train_gpt2.c" >"$dir/train_gpt2.c"
gcc -Ofast -march=native -fopenmp -DOMP -Wno-unused-result -I"$llmc" "$dir/train_gpt2.c" -lm -o "$dir/train_gpt2"
cd "$dir"
mkdir -p dev/data/tinyshakespeare
"${PYTHON:-python3}" - <<'PY'
import array, random, struct
random.seed(1)
layers, wide, heads, vocab, padded, longest = 6, 512, 8, 272, 384, 256
n = padded * wide + longest * wide + layers * (12 * wide * wide + 13 * wide) + 2 * wide
some = array.array("f", [random.gauss(0, 0.02) for _ in range(65536)])
with open("gpt2_124M.bin", "wb") as f:
    f.write(struct.pack("256i", 20240326, 3, longest, vocab, layers, heads, wide, padded, *[0] * 248))
    for at in range(0, n, len(some)):
        f.write(some[: n - at].tobytes())
for name in ("train", "val"):
    with open(f"dev/data/tinyshakespeare/tiny_shakespeare_{name}.bin", "wb") as f:
        f.write(struct.pack("256i", 20240520, 1, 40000, *[0] * 253))
        f.write(array.array("H", [int(256 * random.random() ** 3) for _ in range(40000)]).tobytes())
PY
cat >dense.toml <<'TOML'
[model]
attention = "gqa"
rope = "halves"
dim = 512
n_layers = 6
n_dense_layers = 6
n_heads = 8
n_kv_heads = 8
head_dim = 64
inter_dim = 1365
vocab_size = 272
[training]
global_batch_size = 4
local_batch_size = 4
seq_len = 256
[activation_checkpoint]
mode = "none"
[numerics]
lanes = 4
TOML
middle() { sort -n | awk '{ a[NR] = $1 } END { print NR % 2 ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2 }'; }
for pair in $(seq "$pairs"); do
    theirs=$(OMP_NUM_THREADS=$threads ./train_gpt2 | sed -n 's/^step [1-9].*took \([0-9.]*\) ms.*/\1/p' | middle)
    ours=$("$bin" bench model dense.toml --json --steps 5 ${CPU:+--cpu} --run.threads="$threads" | sed -n 's/.*"total":\([0-9.]*\).*/\1/p')
    echo "$theirs $ours" | awk -v p="$pair" '{ printf "pair %d: llm.c %.1f ms, switchyard %.1f ms, ratio %.2f\n", p, $1, $2, $1 / $2 }' | tee -a all
done
sed 's/.*ratio //' all | middle | awk -v t="$threads" '{ print "median ratio with", t, "threads:", $1 }'
