#!/bin/sh
# configure.sh CUDA CONFIG_MK LINE...: keeps the lines for later calls of make, if all libraries are here (CC). CUDA not empty: finds nvcc (NVCC, the PATH, CUDA_HOME,
# /usr/local/cuda), compiles a kernel for sm_90a with it, and keeps both; a line on stderr and exit 2 where there is none.
set -eu
cuda=$1 file=$2
shift 2
mkdir -p "$(dirname "$file")"
# What the program is built on; the compiler is asked, and where there is none, make will say so.
for need in libjansson-dev:jansson.h libzstd-dev:zstd.h zlib1g-dev:zlib.h libxxhash-dev:xxhash.h libpcre2-dev:pcre2.h \
    libutf8proc-dev:utf8proc.h; do
    if command -v "${CC:-gcc}" >/dev/null && ! echo "#include <${need#*:}>" |
        "${CC:-gcc}" -DPCRE2_CODE_UNIT_WIDTH=8 -E -x c - >/dev/null 2>&1; then
        echo "configure: ${need#*:} is not here: install Debian's ${need%%:*} or what brings it, then do this again" >&2
        exit 2
    fi
done
find_nvcc() {
    for path in "${NVCC:-nvcc}" "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" /usr/local/cuda/bin/nvcc; do
        if command -v "$path" >/dev/null 2>&1; then
            command -v "$path"
            return
        fi
    done
    echo "configure: CUDA=1 needs nvcc of CUDA 13 or later: not on the PATH nor in ${CUDA_HOME:-/usr/local/cuda}; say NVCC=/path/to/nvcc" >&2
    exit 2
}
if [ -n "$cuda" ]; then
    nvcc=$(find_nvcc)
    trial=$(mktemp -d)
    echo '__global__ void k(float *x) { *x = 1; }' >"$trial/k.cu"
    if ! "$nvcc" -std=c++20 -gencode arch=compute_90a,code=sm_90a -c "$trial/k.cu" -o "$trial/k.o" 2>"$trial/log"; then
        echo "configure: $nvcc does not compile for sm_90a: $(head -1 "$trial/log")" >&2
        rm -rf "$trial"
        exit 2
    fi
    rm -rf "$trial"
    set -- "$@" "CUDA = 1" "NVCC = $nvcc"
fi
printf '%s\n' "$@" | tee "$file"
