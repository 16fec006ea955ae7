# Processes with torchrun's variables and no launcher of MPI: they find each other; who does not come is named.
. tests/lib/check.sh
program=$(dirname "$BIN")/tests/mpi/ranks
port=$((20000 + $$ % 10000))

# play RANKS SCENE LIMIT: all but those in $without, with the PATH $only; exit codes in $codes, how each ended in $room/ranks/.
without= only=
play() {
    rm -rf "$room/ranks"
    mkdir "$room/ranks"
    ranks=$1 scene=$2 limit=$3 pids=
    for rank in $(seq 0 $((ranks - 1))); do
        case " $without " in *" $rank "*) continue ;; esac
        PATH=${only:-$PATH} RANK=$rank WORLD_SIZE=$ranks LOCAL_RANK=$rank MASTER_ADDR=localhost MASTER_PORT=$port \
            "$program" "$scene" "$room/ranks" "$limit" >"$room/out.$rank" 2>&1 &
        pids="$pids $!"
    done
    codes=
    for pid in $pids; do
        code=0
        wait "$pid" || code=$?
        codes="$codes $code"
    done
    port=$((port + 2))
}
ended() { # RANK PATTERN WHAT
    grep -qE -- "$2" "$room/ranks/$1" 2>/dev/null || fail "$3: rank $1: $(cat "$room/ranks/$1" 2>/dev/null) $(tail -n 3 "$room/out.$1")"
}
for ranks in 2 4; do
    play $ranks bytes 60
    same "$codes" "$([ $ranks = 2 ] && echo ' 0 0' || echo ' 0 0 0 0')" "$ranks processes with torchrun's variables"
done
export TORCHELASTIC_USE_AGENT_STORE=True # its agent is at MASTER_PORT
play 2 bytes 60
same "$codes" " 0 0" "beside torchrun's agent"
unset TORCHELASTIC_USE_AGENT_STORE
export SLURM_NODELIST=localhost # srun started torchrun
play 2 bytes 60
same "$codes" " 0 0" "in a step of Slurm"
unset SLURM_NODELIST
play 3 fails 60
same "$codes" " 5 3 5" "a rank that fails alone"
ended 0 "^5 .* agree: rank 1 has left: a damaged shard" "a rank that fails alone"

without="1 2"
play 4 alone 2
same "$codes" " 5 5" "two that do not come"
ended 0 "start: ranks 1 and 2 did not come within 2 s" "two that do not come"
without=0
play 2 alone 2
ended 1 "start: rank 0, at MASTER_ADDR = localhost, port [0-9]*, did not come within 2 s" "rank 0 does not come"
without=1
mkdir "$room/bin"
ln -s "$(command -v sh)" "$room/bin/sh"
only=$room/bin
play 2 bytes 60
ended 0 "^1 .*ompi-server, which cannot be started here: install" "no ompi-server"
finish
