# What the program says, word for word: the commands in tests/cli/transcript.txt, their output and exit codes.
# A block is `$ arguments`, stdout and stderr together, `exit N`; ROOM stands for a folder that comes and goes,
# MEMORY for what the machine has. `make goldens` runs this with `write`.
. tests/lib/check.sh

file=tests/cli/transcript.txt
version=$("$BIN" version | sed 's/^switchyard //')
grep '^\$ ' "$file" | while read -r _ arguments; do
    echo "$ $arguments"
    code=0
    # shellcheck disable=SC2046
    "$BIN" $(echo "$arguments" | sed "s:ROOM:$room:g") >"$room/out" 2>&1 </dev/null || code=$?
    sed "s/switchyard $version/switchyard VERSION/; s:$room:ROOM:g
        s/^this machine .*: it /this machine MEMORY: it /" "$room/out"
    printf 'exit %d\n\n' $code
done >"$room/now"
[ "$(grep -c '^exit' "$room/now")" -gt 30 ] || fail "no commands in $file"
if [ "${1-}" = write ]; then
    cp "$room/now" "$file"
    finish
fi
diff "$file" "$room/now" || fail "the program says something else than $file (written by make goldens)"
finish
