# Processes that are stopped, leave, are killed, compute, or are asked to stop: how the others end, in what time, and what they
# say. Many bytes, around the sizes of a note and of a piece.
. tests/lib/check.sh
. tests/lib/mpirun.sh # as root, too
program=$(dirname "$BIN")/tests/mpi/ranks

# Which ranks are there, by their command lines (one that has ended and is not yet waited for has none; nor is it grep).
living() { grep -lzs "^$room/rank[s]\$" /proc/[0-9]*/cmdline | sed 's|/proc/||; s|/cmdline||' | grep -vx "$1"; }
# play RANKS SCENE LIMIT: its exit code in $code; how each rank ended in $room/ranks/. After a start that failed, mpirun of
# Open MPI 4.1 locks up once in a while, in PMIx_server_finalize, when its processes are gone: then the scene is played again.
# A rank that is still there after a minute and a half is a fault of ours.
play() {
    for try in 1 2 3; do
        rm -rf "$room/ranks"
        mkdir "$room/ranks"
        code=0
        mpirun -n "$1" --oversubscribe --bind-to none "$program" "$2" "$room/ranks" "$3" >"$room/out" 2>&1 &
        launcher=$! seconds=0
        while kill -0 $launcher 2>/dev/null && [ $seconds -lt 90 ]; do
            sleep 1
            seconds=$((seconds + 1))
        done
        if [ $seconds -lt 90 ]; then
            wait $launcher || code=$?
            return
        fi
        left=$(living $launcher)
        # shellcheck disable=SC2086
        kill -KILL $launcher $left
        wait $launcher 2>/dev/null
        [ -z "$left" ] || { fail "$2: ranks are left after $seconds s"; return; }
        echo "$2: mpirun is left without a rank"
    done
    fail "$2: mpirun was left without a rank, $try times"
}
# ended RANK PATTERN MOST WHAT: "exit code message" matches, in at most so many seconds.
ended() {
    read -r exit seconds message 2>/dev/null <"$room/ranks/$1" || { fail "$4: rank $1 did not end by itself"; return; }
    printf '%s %s\n' "$exit" "$message" | grep -qE -- "$2" || fail "$4: rank $1: $exit $message"
    [ "${seconds%.*}" -lt "$3" ] || fail "$4: rank $1 ended after $seconds s"
}
all_well() {
    expect 0 "$1"
    for rank in 0 1 2; do
        ended $rank '^0 $' 60 "$1"
    done
}
play 3 bytes 60
all_well "many bytes"
play 3 computes 60
all_well "a wait for a rank that has begun, and computes"

# A second for each of start and shutdown, two in which others may end, and some for a busy machine.
for operation in agree sum_i64 all_to_all; do
    play 3 $operation 1
    expect 5 "$operation, rank 1 is stopped"
    for rank in 0 2; do
        ended $rank "^5 $operation: rank 1 did not come within 1 s" 12 "$operation, rank 1 is stopped"
    done
done
play 3 receive 1
ended 0 "^5 (receive: rank 1|agree: ranks 0 and 1) did not come within 1 s" 12 "a message of a stopped rank"
play 2 middle 1
expect 5 "stopped in the middle of a message"
ended 0 "^5 (receive|send): rank 1 did not come within 1 s" 20 "stopped in the middle of a message"
play 3 absent 2
expect 5 "stopped before the start"
ended 0 "^5 start: MPI_Init has not returned within 2 s .*not all of the 3 processes have come" 12 "stopped before the start"

play 3 fails 60
ended 0 "^5 agree: rank 1 has left: a damaged shard" 12 "a rank that fails alone"
ended 2 "^5 agree: rank 1 has left: a damaged shard" 12 "a rank that fails alone"
ended 1 "^3 a damaged shard" 12 "a rank that fails alone"
play 3 killed 60
expect 137 "a rank that is killed"

play 3 asked-stopped 60
expect 5 "asked to stop, rank 1 is stopped"
ended 0 "^5 agree: rank 1 did not come within 2 s of the request to stop" 12 "asked to stop, rank 1 is stopped"
play 3 asked 60
all_well "asked to stop, rank 1 computes for four seconds"
finish
