#!/bin/sh
# An include may only point to an earlier room, or into its own: see the rows of docs/ARCHITECTURE.md. cli/ and the header
# see the public API alone. Prints each line that breaks this; exit 1 if there is one.
set -eu
cd "$(dirname "$0")/.."
rooms="base formats tokenizer config device ops comm moe model parallel data ckpt routes report train layerapi commands"
grep -nH '^ *# *include *"' src/*/*.[ch] src/*/*/*.[ch] cli/*.[ch] include/*.h | awk -F: -v rooms="$rooms" '
    BEGIN { n = split(rooms, name, " "); for (i = 1; i <= n; i++) row[name[i]] = i }
    {
        split($1, part, "/")
        from = part[1] == "src" ? part[2] : part[1]
        match($3, /"[^"]*"/)
        path = substr($3, RSTART + 1, RLENGTH - 2)
        to = path
        if (sub(/\/.*/, "", to) == 0) to = path ~ /^switchyard.h$/ ? "include" : from
        if (part[1] == "src" && !(from in row)) why = "src/" from " is no room that this script knows"
        else if (from == "include") why = "the public header includes nothing of ours"
        else if (to == "include" || to == from) why = ""
        else if (from == "cli") why = "cli/ uses the public API only"
        else if (!(to in row)) why = "no such room"
        else why = row[to] < row[from] ? "" : from "/ comes before " to "/"
        checked++
        if (why != "") { print $1 ":" $2 ": " path ": " why; bad = 1 }
    }
    END { if (!checked) { print "no include was found"; bad = 1 } exit bad }'
