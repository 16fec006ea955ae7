# The shared library: exactly the functions of the header are exported, each half in its node; a program links and runs
# with it; the experimental half is behind its macro.
. tests/lib/check.sh

so=$(dirname "$BIN")/libswitchyard.so
if [ ! -e "$so" ]; then
    echo "exports: this build has no shared library"
    finish
fi
cc=${CC:-cc}
# prototypes HALF...: as the compiler reads them
prototypes() {
    $cc -std=c11 "$@" -Iinclude -aux-info "$room/aux" -fsyntax-only -x c include/switchyard.h 2>/dev/null
    sed -n 's/^\/\* include\/switchyard\.h:[^(]*[ *]\(sy_[a-z0-9_]*\) (.*/\1/p' "$room/aux" | sort
}
prototypes >"$room/stable"
prototypes -DSY_EXPERIMENTAL >"$room/all"
if [ ! -s "$room/stable" ]; then
    echo "exports: $cc does not list prototypes (-aux-info): not checked"
    finish
fi
[ "$(wc -l <"$room/stable")" -ge 40 ] || fail "too few prototypes: $(wc -l <"$room/stable")"
nm -D --defined-only "$so" | sed -n 's/.* [TDBRVW] //p' | sort >"$room/exported"
grep '@@SWITCHYARD_[0-9.]*$' "$room/exported" | sed 's/@@.*//' >"$room/is"
cmp "$room/is" "$room/stable" || { fail "the stable half"; diff "$room/is" "$room/stable" | head -n 5; }
sed 's/@@.*//' "$room/exported" | sort >"$room/is"
cmp "$room/is" "$room/all" || { fail "what is exported"; diff "$room/is" "$room/all" | head -n 5; }
same "$(grep -c '@@SWITCHYARD_EXPERIMENTAL$' "$room/exported")" "$(comm -13 "$room/stable" "$room/all" | wc -l)" "the experimental half"
version=$("$BIN" version | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1)
same "$(readelf -d "$so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')" "libswitchyard.so.${version%.*}" "SONAME"

cat >"$room/uses.c" <<'END'
#include <stdio.h>
#include <switchyard.h>
#ifdef HALF
struct sy_moe_options o;
#endif
int main(void) {
    struct sy_config *c = NULL;
    const char *text = NULL;
    if (sy_config_create(&c) != SY_OK || sy_option_set(c, "model.dim", "64") != SY_OK ||
        sy_option_get(c, "model.dim", &text) != SY_OK)
        return 1;
    printf("%s %s\n", sy_version(), text);
    sy_config_destroy(c);
    return 0;
}
END
$cc -std=c11 -Iinclude "$room/uses.c" -L"$(dirname "$BIN")" -lswitchyard -o "$room/uses" 2>"$room/out" || fail "a program: $(cat "$room/out")"
same "$(LD_LIBRARY_PATH=$(dirname "$BIN") "$room/uses")" "$version 64" "what a program with the library prints"
$cc -std=c11 -DHALF -Iinclude -fsyntax-only "$room/uses.c" 2>/dev/null && fail "the experimental half without SY_EXPERIMENTAL"
$cc -std=c11 -DHALF -DSY_EXPERIMENTAL -Iinclude -fsyntax-only "$room/uses.c" || fail "the experimental half"
finish
