# The report in a real browser, of a run that is trained here, of hostile files and of 20,000 steps: what a pointer
# and the keys show, that nothing sticks out at 320 px, how long it takes to open, that it prints; and pictures at
# three widths, light and dark, beside those that were looked at (means of blocks, so that another font passes).
# Where chromium or python3 is not, nothing is tested, and that is said.
#   `sh tests/browser/report.sh write` writes the references anew: look at the pictures first (make screenshots).
. tests/lib/check.sh
for need in chromium python3; do
    command -v $need >/dev/null || { echo "browser: no $need here, the report is not looked at"; exit 0; }
done
browse() { # WIDTH HEIGHT SCHEME OPTION... URL; headless windows are at least 500 wide
    size=$1,$2 dark=
    [ "$3" = dark ] && dark="--blink-settings=preferredColorScheme=0"
    shift 3
    # shellcheck disable=SC2086
    timeout 60 chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$room/profile" $dark \
        --window-size="$size" "$@" 2>/dev/null
}

# Without a window no frame is drawn, so what waits for one is called at once.
at_once='<script>window.requestAnimationFrame = function (f) { setTimeout(f, 0); };</script>'
# look NAME: the page of a run: what it does, how long it takes to open, that nothing sticks out of a narrow one.
look() {
    page=$room/$1/report.html
    { sed "s|^<main>\$|<main>$at_once|" "$page"; echo '<script>'; cat tests/browser/probe.js; echo '</script>'; } >"$room/probed.html"
    browse 1400 1000 light --virtual-time-budget=20000 --dump-dom "file://$room/probed.html" >"$room/dom"
    sed -n '/<pre id="probe">/,/<\/pre>/p' "$room/dom" | sed 's/<[^>]*>//g' >"$room/said"
    same "$(grep -v opened "$room/said")" "pointer 1
crosses 1
keys 1
log 1
errors 0
wide 0" "$1: what the page does"
    opened=$(sed -n 's/^opened \([0-9]*\) ms/\1/p' "$room/said")
    [ "${opened:-9999}" -lt 1000 ] || fail "$1: its page opened in ${opened:-?} ms, not in 1000"
    # Narrow, in a frame, which says so in the title of the page around it.
    sed 's/^    document.body.insert.*/    window.parent.document.title = said.join(";"); return;/' "$room/probed.html" >"$room/framed.html"
    for width in 320 800; do
        printf '<body style="margin:0"><iframe src="framed.html" style="border:0;width:%dpx;height:900px"></iframe>' $width >"$room/frame.html"
        browse 1400 1000 light --virtual-time-budget=20000 --allow-file-access-from-files --dump-dom "file://$room/frame.html" >"$room/dom"
        grep -q 'wide 0' "$room/dom" || fail "$1, at $width px: $(grep -o '<title>.*</title>' "$room/dom")"
    done
    browse 1400 1000 light --no-pdf-header-footer --print-to-pdf="$room/print.pdf" "file://$page" >/dev/null
    sheets=$(grep -ac '/Type /Page$' "$room/print.pdf")
    [ "$sheets" -ge 2 ] && [ "$sheets" -le 5 ] || fail "$1: printed on $sheets pages"
}

# A run that was trained here, with all that its page may have.
train real --training.steps=12 --validation.enable --validation.freq=4 --profiling.enable_memory_snapshot --profiling.enable_profiling --alerts.window=4 --alerts.load_cv=0.01
expect 0 "train"
look real
# One whose files are hostile: what they say is text.
evil='<script>document.title="run"</script><img src=x onerror="document.title=1"><b onclick=x>'
cp -R "$room/real" "$room/hostile"
quoted=$(printf '%s' "$evil" | sed 's/"/\\"/g')
printf '{"kind":"event","step":12,"event":"%s","text":"%s"}\n' "$quoted" "$quoted" >>"$room/hostile/metrics.jsonl"
sed "s|^#* *description = .*|description = '$evil'|" "$room/real/config.toml" >"$room/hostile/config.toml"
grep -q onerror "$room/hostile/config.toml" || fail "the hostile config is not hostile"
run report "$room/hostile"
expect 0 "report of a hostile run"
look hostile
browse 1400 1000 light --virtual-time-budget=5000 --dump-dom "file://$room/hostile/report.html" >"$room/dom"
grep -q '<title>hostile – switchyard</title>' "$room/dom" || fail "a config's text ran: $(grep -o '<title>.*</title>' "$room/dom")"
[ "$(grep -o '&lt;script&gt;document.title' "$room/dom" | wc -l)" -ge 3 ] || fail "a config's text is not shown"

BIN=$BIN sh tools/long_run.sh "$room/long"
run report "$room/long"
expect 0 "report"
look long
page=$room/long/report.html

for shot in "320 1500" "800 1500" "1400 1500"; do
    for scheme in light dark; do
        width=${shot% *} height=${shot#* } window=${shot% *} url="file://$page"
        if [ "$width" -lt 500 ]; then
            window=500 url="file://$room/narrow.html"
            printf '<body style="margin:0"><iframe src="%s" style="border:0;width:%dpx;height:%dpx"></iframe>' "file://$page" $width $height >"$room/narrow.html"
        fi
        name=report-$width-$scheme
        browse "$window" "$height" $scheme --screenshot="$room/$name.png" "$url"
        python3 tests/browser/blocks.py "$room/$name.png" "tests/browser/$name.txt" "${1-}" || fail "$name"
        [ -z "${KEEP-}" ] || cp "$room/$name.png" "$KEEP/"
    done
done
finish
