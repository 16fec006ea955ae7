#!/bin/sh
# The demo: trains configs/tiny.toml on the licence texts of Debian and Ubuntu in a new folder, prints a sample, the held-out
# loss and whether the weights are, bit for bit, those that the README states.
#   usage: tools/demo.sh PROGRAM [--section.key=value ...]      any option: nothing to compare with, which is said
set -eu
if [ $# -lt 1 ]; then
    echo "usage: tools/demo.sh PROGRAM [--section.key=value ...]" >&2
    exit 2
fi
program=$1 config=configs/tiny.toml texts=/usr/share/common-licenses
shift
own_data=0
for option in "$@"; do
    case $option in --training.dataset_path* | --training.dataset-path*) own_data=1 ;; esac
done

# The same bytes on Debian 12 and Ubuntu 24.04.
licences() {
    cat <<'END'
cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30 Apache-2.0
b7fd9b73ea99602016a326e0b62e6646060d18febdd065ceca8bb482208c3d88 Artistic
d8e94ae5fdb5433fcae2961aeb1a8cf17174d6f4a0465d24bf37dd8a038bd439 GFDL-1.2
110535522396708cea37c72a802c5e7e81391139f5f7985631c93ef242b206a4 GFDL-1.3
d77d235e41d54594865151f4751e835c5a82322b0e87ace266567c3391a4b912 GPL-1
8177f97513213526df2cf6184d8ff986c675afb514d4e68a404010521b880643 GPL-2
3972dc9744f6499f0f9b2dbf76696f2ae7ad8af9b23dde66d6af86c9dfb36986 GPL-3
681e386e44a19d7d0674b4320272c90e66b6610b741e7e6305f8219c42e85366 LGPL-2
dc626520dcd53a22f727af3ee42c770e56c97a64fe3adb063799d8ab032fe551 LGPL-2.1
e3a994d82e644b03a792a930f574002658412f62407f5fee083f2555c5f23118 LGPL-3
f849fc26a7a99981611a3a370e83078deb617d12a45776d6c4cada4d338be469 MPL-1.1
fab3dd6bdab226f1c08630b1dd917e11fcb4ec5e1e020e2c16f83a0a13863e85 MPL-2.0
END
}
check_licences() {
    bad=0
    while read -r want name; do
        have=$(sha256sum "$texts/$name" 2>/dev/null | cut -d' ' -f1)
        if [ -z "$have" ]; then
            echo "demo: $texts/$name cannot be read; Debian and Ubuntu have it in the package base-files" >&2
            bad=1
        elif [ "$have" != "$want" ]; then
            echo "demo: $texts/$name is not the text that the README's digest was made from: sha256 $have, not $want" >&2
            bad=1
        fi
    done
    if [ $bad -ne 0 ]; then
        echo "demo: to train on text of your own: ./run demo --training.dataset_path=DIR" >&2
    fi
    return $bad
}
[ $own_data -eq 1 ] || licences | check_licences

mkdir -p runs
dir=$(mktemp -d runs/demo-XXXXXX)
chmod 755 "$dir"
echo "training $config in $dir; Ctrl-C saves and stops"
code=0
"$program" train "$config" --run.dir="$dir" "$@" >"$dir/summary.txt" || code=$?
if [ $code -ne 0 ]; then
    cat "$dir/summary.txt"
    exit $code
fi

echo
echo "a sample, $program generate $dir --prompt \"You may \" --max-tokens 200 --temperature 0.8 --seed 1:"
echo
"$program" generate "$dir" --prompt "You may " --max-tokens 200 --temperature 0.8 --seed 1
echo
echo
line=$(grep '^held-out loss ' "$dir/summary.txt" || true)
if [ -n "$line" ]; then
    loss=$(echo "$line" | sed 's/^held-out loss \([0-9.]*\) .*/\1/')
    unigram=$(echo "$line" | sed 's/.*unigrams \([0-9.]*\) .*/\1/')
    awk -v a="$loss" -v b="$unigram" 'BEGIN {
        printf "held-out loss         %.4f nats per byte\nbyte-unigram entropy  %.4f nats per byte, %.4f more\n", a, b, b - a }'
fi
digest=$(grep '^digest of step ' "$dir/summary.txt")
if [ $# -gt 0 ]; then
    echo "$digest — not compared with the README's, which was made without $*"
    exit 0
fi
# The README's line holds `digest of step N` and 32 hex digits between backticks.
step=$(echo "$digest" | sed 's/^digest of step \([0-9]*\): .*/\1/')
want=$(sed -n "s/.*digest of step ${step}[^0-9].*\`\([0-9a-f]\{32\}\)\`.*/\1/p" README.md | head -n 1)
if [ -z "$want" ]; then
    echo "$digest — README.md states none to compare with"
    exit 1
elif [ "$digest" != "digest of step $step: $want" ]; then
    echo "$digest — NOT the README's $want: please report this with the output of \`$program info\`"
    exit 1
fi
echo "$digest — the same as in the README"
