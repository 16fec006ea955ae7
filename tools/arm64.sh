#!/bin/sh
# arm64.sh [SWITCHYARD]: builds for arm64 by gcc-aarch64-linux-gnu, static, in build/arm64; its inner loops must be NEON's fmla; then
# both micro models in every class by qemu-user, beside the program of this machine: one line each, exit 1 if a bit differs.
# Debian: gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static, and for arm64 (dpkg --add-architecture arm64, or unpacked by
# dpkg -x into the folder ARM64_ROOT): libjansson-dev libzstd-dev zlib1g-dev libxxhash-dev libpcre2-dev libutf8proc-dev.
# STEPS=3, of class sm90 1. Where something is missing it says what, and that is no failure; NEED=1: it is.
set -eu
cd "$(dirname "$0")/.."
bin=${1:-build/switchyard} steps=${STEPS:-3} root=${ARM64_ROOT:-} out=build/arm64
missing() {
    echo "arm64: not checked here: $1"
    exit "${NEED:-0}"
}
cross=aarch64-linux-gnu qemu=qemu-aarch64-static
command -v $cross-gcc >/dev/null || missing "no $cross-gcc"
command -v $qemu >/dev/null || missing "no $qemu"
cc=$cross-gcc
[ -z "$root" ] || cc="$cc -isystem $root/usr/include -isystem $root/usr/include/$cross -L$root/usr/lib/$cross"
for library in jansson zstd z xxhash pcre2-8 utf8proc; do
    echo 'int main(void){return 0;}' | $cc -x c - -static -l$library -o /dev/null 2>/dev/null || missing "no lib$library for arm64"
done
make -s BUILD=$out MACHINE=aarch64 CC="$cc" LDFLAGS=-static CUDA= MPI= $out/switchyard
fmla=$($cross-objdump -d $out/src/ops/ref/product_chain.ref.o | grep -c 'fmla.*\.4s') || true
[ "$fmla" -gt 0 ] || { echo "arm64: the products' inner loops have no fmla"; exit 1; }
echo "arm64: built, $fmla fmla in the products' inner loops"

room=$(mktemp -d "${TMPDIR:-/tmp}/switchyard.XXXXXX")
trap 'rm -rf "$room"' EXIT
bits() { # DIR PROGRAM...: of every step
    dir=$1
    shift
    "$@" --run.dir="$dir" --checkpoint.enable=false >"$room/log" 2>&1 || { cat "$room/log"; exit 1; }
    sed -n 's/^{"kind":"train","step":\([0-9]*\),.*"loss_bits":"\([0-9a-f]*\)".*"weights_digest":"\([0-9a-f]*\)".*/\1 \2 \3/p' "$dir/metrics.jsonl"
}
bad=0
for model in micro_mla micro_gqa; do
    for class in x86 amx fp32 sm90; do
        n=$steps
        [ $class != sm90 ] || n=1
        set -- train configs/$model.toml --numerics.class=$class --training.steps="$n"
        here=$(bits "$room/here-$model-$class" "$bin" "$@")
        there=$(bits "$room/there-$model-$class" $qemu $out/switchyard "$@")
        if [ "$(echo "$here" | wc -l)" -eq "$n" ] && [ "$here" = "$there" ]; then
            echo "arm64: $model $class: $n steps equal, digest $(echo "$here" | tail -n 1 | cut -d ' ' -f 3)"
        else
            printf 'arm64: %s %s: step loss weights here, then there\n%s\n%s\n' $model $class "$here" "$there"
            bad=1
        fi
    done
done
exit $bad
