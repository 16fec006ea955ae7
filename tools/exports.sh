#!/bin/sh
# The linker's version script of libswitchyard.so: what a header declares is exported, all else is local.
#   usage: tools/exports.sh HEADER VERSION
# The experimental half (behind #ifdef SY_EXPERIMENTAL) is a node of its own.
set -eu
awk -v version="${2%.*}" '
    /^#ifdef SY_EXPERIMENTAL/ { half = 1 }
    /\*\/[ \t]*$/ && comment { comment = 0; next }
    /^[ \t]*\/\*/ { if (!/\*\//) comment = 1; next }
    comment { next }
    # a prototype begins in column 1 with its type; its name is the word before the first parenthesis
    /^[a-z].*[ *]sy_[a-z0-9_]+\(/ && !/^typedef/ {
        match($0, /sy_[a-z0-9_]+\(/)
        name[half + 0] = name[half + 0] "        " substr($0, RSTART, RLENGTH - 1) ";\n"
        n++
    }
    END {
        if (!n) exit 1
        printf "SWITCHYARD_%s {\n    global:\n%s    local: *;\n};\n", version, name[0]
        printf "SWITCHYARD_EXPERIMENTAL {\n    global:\n%s};\n", name[1]
    }' "$1"
