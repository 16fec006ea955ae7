#!/bin/sh
# Trains on a corpus that is larger than memory: makes FOLDER/corpus (so many GB of text, unless it is there), starts a run
# with data.cache_dir three times (nothing is there; all is there; all is there and the pages are not in memory, where that
# can be asked for), and prints for each the seconds to the first step, and the most resident memory of the process, beside
# that of the same model on a small corpus. BIN "none": only makes the corpus. It needs twice as much room on the disk.
#   usage: bench/big_corpus.sh FOLDER GB [BIN [--section.key=value ...]]
set -eu
folder=$1 gb=$2 bin=${3:-build/switchyard}
shift $(($# < 3 ? $# : 3))
mkdir -p "$folder"
make_texts() { # FOLDER, files of 1 GB each: documents of 300 to 7000 bytes, all different, of 50,000 words
    python3 - "$1" "$2" <<'PY'
import random, sys
folder, files = sys.argv[1], int(sys.argv[2])
r = random.Random(1)
words = ["".join(r.choice("etaoinshrdlucmfwypvbgkjqxz") for _ in range(r.randint(2, 11))) for _ in range(50000)]
text = " ".join(words[min(int(r.paretovariate(0.7)), 49999)] for _ in range(4000000)).encode()
for k in range(files):
    with open(f"{folder}/part-{k:03}.jsonl", "wb") as f:
        at, n = r.randrange(1 << 20), 0
        while n < 1000000000:
            length = 300 + r.getrandbits(12) + r.getrandbits(12) * (at & 1)
            if at + length > len(text):
                at = r.randrange(1 << 20)
            n += f.write(b'{"text":"%x %s"}\n' % (r.getrandbits(64), text[at:at + length]))
            at += length
PY
}
if [ ! -d "$folder/corpus" ]; then
    mkdir "$folder/corpus.part"
    make_texts "$folder/corpus.part" "$gb"
    mv "$folder/corpus.part" "$folder/corpus"
fi
du -sb "$folder/corpus" | awk '{ printf "corpus: %.1f GB\n", $1 / 1e9 }'
[ "$bin" != none ] || exit 0
start() { # NAME DATA [FLAG ...]: a run of two steps, timed to its first
    name=$1 data=$2
    shift 2
    rm -rf "$folder/run"
    begin=$(date +%s%N)
    "$bin" train configs/micro_gqa.toml --run.dir="$folder/run" --training.dataset_path="$data" --training.steps=2 \
        --checkpoint.interval=100 "$@" >"$folder/log" 2>&1 &
    pid=$! most=0 first=
    while kill -0 $pid 2>/dev/null; do
        now=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' /proc/$pid/status 2>/dev/null || true)
        most=$((${now:-0} > most ? ${now:-0} : most))
        [ -n "$first" ] || ! grep -q '"step":1,' "$folder/run/metrics.jsonl" 2>/dev/null || first=$(date +%s%N)
        sleep 0.02
    done
    wait $pid || { cat "$folder/log"; exit 1; }
    first=${first:-$(date +%s%N)}
    echo "$name: $(((first - begin) / 1000000)) ms to the first step, $((most / 1024)) MiB at most," \
        "$(sed -n 's/^digest of step 2: //p' "$folder/log"), $(grep -c '' "$folder/run/metrics.jsonl") lines"
}
start "a small corpus" tests/data/prose.jsonl "$@"
start "first start" "$folder/corpus" --data.cache_dir="$folder/cache" "$@"
start "second start" "$folder/corpus" --data.cache_dir="$folder/cache" "$@"
if sync && echo 3 >/proc/sys/vm/drop_caches 2>/dev/null; then
    start "start without pages in memory" "$folder/corpus" --data.cache_dir="$folder/cache" "$@"
fi
grep 'documents to train on' "$folder/log"
du -sb "$folder/cache" | awk '{ printf "cache: %.1f GB\n", $1 / 1e9 }'
