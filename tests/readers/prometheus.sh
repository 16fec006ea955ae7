# The page of metrics.prometheus_port as the package `prometheus_client` reads it, of one rank and of two. Without the
# package nothing is tested, and that is said.   PYTHON: the interpreter that has it (python3)
. tests/lib/check.sh
python=${PYTHON:-python3}
"$python" -c 'import prometheus_client' 2>/dev/null || { echo "prometheus_client: $python has no such package, the page is not read"; exit 0; }
for ranks in 1 2; do
    "$python" tests/readers/read_page.py "$BIN" "$config" "$room/run $ranks" "$ranks" >"$room/out" 2>&1 || { fail "$ranks ranks"; tail -n 4 "$room/out"; }
done
finish
