# The program of examples/: one MoE layer alone and over ranks, also more ranks than sequences or experts, prints one digest.
. tests/lib/check.sh
example=$(dirname "$BIN")/examples/moe_layer
alone=$("$example") || fail "moe_layer alone"
case $alone in
"y "*"dx "*"gradients "*) ;;
*) fail "moe_layer printed: $alone" ;;
esac
for ranks in 1 2 3 4 8 11; do
    same "$("$example" --ranks $ranks 2>&1)" "$alone" "moe_layer --ranks $ranks"
done
"$example" --ranks 0 >/dev/null 2>&1
same $? 2 "exit code of --ranks 0"

# It is C++, too.
if command -v "${CXX:-c++}" >/dev/null; then
    "${CXX:-c++}" -std=c++17 -Wall -Wextra -pedantic -Werror -fsyntax-only -Iinclude -x c++ examples/moe_layer.c >"$room/out" 2>&1 ||
        { fail "moe_layer.c as C++"; head -n 5 "$room/out"; }
fi
finish
