#!/bin/sh
# Checks and times of the prototypes, and the yardsticks, on a machine with a Hopper GPU; builds nothing.
# usage: bench/gpu/run.sh [folder with gemm_sm90 and attention_sm90]     exit 1 if a bit differs
here=$(dirname "$0")
bin=${1:-build/bench/gpu}
failed=0
query=name,driver_version,clocks.sm,power.draw,temperature.gpu
nvidia-smi --query-gpu=$query --format=csv,noheader
"$bin/gemm_sm90" check || failed=1
"$bin/attention_sm90" check || failed=1
"$bin/gemm_sm90" time || failed=1
"$bin/attention_sm90" time || failed=1
nvidia-smi --query-gpu=$query --format=csv,noheader
python3 "$here/yardsticks.py" gemm 2>/dev/null
python3 "$here/yardsticks.py" attention 2>/dev/null
exit $failed
