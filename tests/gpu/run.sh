#!/bin/sh
# run.sh BUILD: every test of the GPU, over what `make gpu-tests` built, here or on another machine. Exit 77 without a GPU.
set -u
build=$1
bad=0
for test in test_sm90 test_ops test_attention; do
    "$build/tests/gpu/$test"
    rc=$?
    [ $rc -eq 77 ] && exit 77
    [ $rc -eq 0 ] || { echo "$test: exit $rc"; bad=1; }
done
for script in commands train generate; do
    BIN=$build/switchyard sh tests/gpu/$script.sh || { echo "$script.sh failed"; bad=1; }
done
BIN=$build/switchyard sh tests/gpu/ranks.sh
rc=$?
[ $rc -eq 0 ] || [ $rc -eq 77 ] || { echo "ranks.sh failed"; bad=1; }
exit $bad
