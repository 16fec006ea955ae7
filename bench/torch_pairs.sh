#!/bin/sh
# Whole training steps of dsv3-debug and gqa-debug by switchyard and by PyTorch in turn, PAIRS times: tokens/s of each, and at the
# end the median of the pairs' ratios with PyTorch's best way of the pair. 4 sequences of 512 a step, no recompute, THREADS threads.
# usage: PYTHON=python3 PAIRS=7 THREADS=2 bench/torch_pairs.sh [switchyard]
set -eu
bin=${1:-build/switchyard} python=${PYTHON:-python3} pairs=${PAIRS:-7} threads=${THREADS:-2}
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE || true
for model in dsv3-debug gqa-debug; do
    ratios=
    for pair in $(seq "$pairs"); do
        ours=$("$bin" bench model $model --json --steps 5 --run.threads="$threads" --activation_checkpoint.mode=none \
            --training.global_batch_size=4 --training.local_batch_size=4 --numerics.lanes=4 |
            sed -n 's/.*"tokens_per_s":\([0-9.]*\).*/\1/p' | head -n 1)
        theirs=$("$python" "$(dirname "$0")/torch_step.py" $model --threads "$threads" --steps 5 | tee -a /dev/stderr |
            sed 's/.* \([0-9]*\) tokens.*/\1/' | sort -n | tail -n 1)
        ratio=$(echo "$ours $theirs" | awk '{ printf "%.3f", $1 / $2 }')
        echo "$model pair $pair: switchyard $ours, PyTorch $theirs tokens/s, ratio $ratio"
        ratios="$ratios $ratio"
    done
    echo "$model: median ratio $(echo "$ratios" | tr ' ' '\n' | grep . | sort -n | sed -n "$((pairs / 2 + 1))p")"
done
