# make install and make uninstall: what is there works, and nothing is left.
. tests/lib/check.sh

build=$(dirname "$BIN")
into() { # TARGET: make without what an outer make hands down
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s BUILD="$build" PREFIX=/opt/x DESTDIR="$room/root" "$1" >"$room/out" 2>&1 ||
        { fail "make $1"; tail -n 5 "$room/out"; }
}
into install
at=$room/root/opt/x
version=$("$BIN" version | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1)
files=$(cd "$at" && find . -type f -o -type l | sort)
same "$files" "./bin/switchyard
./include/switchyard.h
./lib/libswitchyard.a
./lib/libswitchyard.so
./lib/libswitchyard.so.${version%.*}
./lib/libswitchyard.so.$version
./lib/pkgconfig/switchyard.pc
./share/bash-completion/completions/switchyard
./share/man/man1/switchyard.1" "what make install writes"
same "$("$at/bin/switchyard" version)" "$("$BIN" version)" "the installed program"
"$BIN" completion | cmp - "$at/share/bash-completion/completions/switchyard" || fail "the installed completion"
cmp docs/switchyard.1 "$at/share/man/man1/switchyard.1" || fail "the installed manual page"
[ -e "$at/lib/libswitchyard.so" ] || fail "the links of the shared library lead nowhere"
if command -v pkg-config >/dev/null; then
    asks() { PKG_CONFIG_PATH=$at/lib/pkgconfig pkg-config "$@" switchyard | sed 's/ *$//'; }
    same "$(asks --modversion)" "$version" "pkg-config: version"
    same "$(asks --libs)" "-L/opt/x/lib -lswitchyard" "pkg-config: the shared library needs no others named"
    for lib in -lswitchyard -ljansson -lm -pthread; do
        case " $(asks --libs --static) " in *" $lib "*) ;; *) fail "pkg-config --static lacks $lib" ;; esac
    done
fi
grep -q '^prefix=/opt/x$' "$at/lib/pkgconfig/switchyard.pc" || fail "prefix in switchyard.pc"
: >"$at/bin/other"
into uninstall
same "$(find "$at" -type f -o -type l)" "$at/bin/other" "what make uninstall leaves: what is not ours"
into uninstall # again, with nothing there
finish
