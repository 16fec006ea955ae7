# tools/run_tests.sh is never silent for long: what runs is named, with the last that it said.
. tests/lib/check.sh

mkdir "$room/some"
printf '#!/bin/sh\necho first\nsleep 3\necho second part\nsleep 4\n' >"$room/slow"
printf '#!/bin/sh\nsleep 1\necho oh no\nexit 1\n' >"$room/bad"
chmod +x "$room/slow" "$room/bad"
code=0
ONLY="slow bad" JOBS=1 SAY_AFTER=1 sh tools/run_tests.sh "$(dirname "$BIN")" "$room/slow" "$room/bad" >"$room/out" 2>&1 || code=$?
expect 1 "a test that fails"
says "^runs +[1-9] +s  slow: first$" "a line while a test runs"
says "^runs +[0-9] +s  slow: second part$" "its newest line"
says "^ok +[78]\\.[0-9] s  slow$" "the line of its end"
says "^FAILED +1\\.[0-9] s  bad$" "the line of a failure"
says "^oh no$" "the log of what failed"
says "^1 of 2 tests passed in " "the summary"
code=0
ONLY="slow" SAY_AFTER=100 sh tools/run_tests.sh "$(dirname "$BIN")" "$room/slow" >"$room/out" 2>&1 || code=$?
expect 0 "a test that passes"
grep '^runs' "$room/out" && fail "a line that is not needed"

mkdir "$room/other"
cp "$room/bad" "$room/other/slow"
code=0
ONLY="slow" sh tools/run_tests.sh "$(dirname "$BIN")" "$room/slow" "$room/other/slow" >"$room/out" 2>&1 || code=$?
expect 2 "two tests of one name"
says "^two tests have the same name: slow" "two tests of one name"

# One that never ends, with a child that ignores to be asked.
printf '#!/bin/sh\n(trap "" TERM; while :; do sleep 1; done) &\nwait\nsleep 100\n' >"$room/stuck"
chmod +x "$room/stuck"
code=0
ONLY="stuck" LIMIT=2 timeout 60 sh tools/run_tests.sh "$(dirname "$BIN")" "$room/stuck" >"$room/out" 2>&1 || code=$?
expect 1 "a test that never ends"
says "^FAILED +[0-9.]+ s  stuck$" "the line of its end"
says "^ended after 2 s; then there were:$" "why it ended"
says "^[0-9]+ S .*/stuck" "what ran"
sleep 1
grep -lzs "$room/stuck" /proc/[0-9]*/cmdline && fail "processes are left"
finish
