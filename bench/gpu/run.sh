#!/bin/sh
# What cuBLAS, grouped_mm and cuDNN do on the machine's GPU, in the same run as `switchyard bench`: speed only, other bits.
here=$(dirname "$0")
nvidia-smi --query-gpu=name,driver_version,clocks.sm,power.draw,temperature.gpu --format=csv,noheader
python3 "$here/yardsticks.py" gemm 2>/dev/null
python3 "$here/yardsticks.py" attention 2>/dev/null
