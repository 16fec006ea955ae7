#!/bin/sh
# The pictures of the report in docs/, of a run that a script made (tools/long_run.sh): chromium without a window.
set -eu
BIN=${BIN:-build/switchyard}
room=$(mktemp -d "${TMPDIR:-/tmp}/switchyard.XXXXXX")
trap 'rm -rf "$room"' EXIT
BIN=$BIN sh tools/long_run.sh "$room/twenty-thousand-steps" >/dev/null
page=$room/twenty-thousand-steps/report.html
"$BIN" report "$room/twenty-thousand-steps" >/dev/null
shot() { # NAME WIDTH HEIGHT OPTION URL
    timeout 60 chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$room/profile" \
        --window-size="$2,$3" $4 --screenshot="$room/$1.png" "$5" >/dev/null 2>&1
    bytes=$(wc -c <"$room/$1.png")
    echo "docs/$1.png $bytes bytes"
    [ "$bytes" -lt 150000 ] || { echo "docs/$1.png: more than 150000 bytes" >&2; exit 1; }
    mv "$room/$1.png" docs/
}
shot report 1200 1000 "" "file://$page"
shot report-dark 1200 1000 --blink-settings=preferredColorScheme=0 "file://$page"
sed 's|^<main>$|<main><style>.run, .charts { display: none } section { margin-top: 0 !important }</style>|' "$page" >"$room/experts.html"
shot report-experts 1200 830 "" "file://$room/experts.html"
