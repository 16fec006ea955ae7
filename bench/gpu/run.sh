#!/bin/sh
# run.sh: every op of the machine's GPU (BIN, build/switchyard) at the sizes of trainings, then, where torch is, cuBLAS,
# grouped_mm and cuDNN on the same shapes: speed only, other bits. The machine's clocks stand before and after.
set -eu
here=$(dirname "$0")
bin=${BIN:-build/switchyard}
clocks() {
    nvidia-smi --query-gpu=name,driver_version,clocks.sm,power.draw,temperature.gpu --format=csv,noheader || true
}
clocks
"$bin" bench ops --device cuda
if python3 -c 'import torch' 2>/dev/null; then
    python3 "$here/yardsticks.py" gemm 2>/dev/null
    python3 "$here/yardsticks.py" attention 2>/dev/null
else
    echo "no torch here: no yardsticks"
fi
clocks
