# The demo on two processes: the digest that stands in the README.
. tests/lib/check.sh
. tests/lib/mpirun.sh
[ -z "${QUICK-}" ] || exit 0
mpi 2 "$BIN" train configs/tiny.toml --training.dataset_path=examples/data/short_pieces.jsonl --run.dir="$room/demo" \
    --run.threads=1 >"$room/out" 2>&1 || fail "the demo on two processes: $(tail -n 3 "$room/out")"
same "$(digest)" "$(sed -n 's/^digest of step 300: `\([0-9a-f]*\)`$/\1/p' README.md)" "the demo on two processes"
finish
