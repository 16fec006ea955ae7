# 20 steps of both micro models in each class end with the bits in tests/data/goldens.txt: loss of each step and weights.
# `make goldens` runs this with `write`: a change there is a new op version and a `numerics:` line in the CHANGELOG.
. tests/lib/check.sh
QUICK=${QUICK:-0}
[ "${1-}" != write ] || QUICK=0

file=tests/data/goldens.txt
{
    echo "# model class step loss_bits weights_digest: written by \`make goldens\`; a change here is a change of numerics"
    for model in micro_mla micro_gqa; do
        for class in x86 sm90 fp32; do
            [ "$QUICK" -eq 0 ] || [ $class != sm90 ] || continue # slow under a sanitizer
            config=configs/$model.toml
            train $model-$class --numerics.class=$class --training.steps=20 --checkpoint.enable=false
            expect 0 "$model $class"
            history $model-$class | while read -r step loss _ weights; do echo "$model $class $step $loss $weights"; done
        done
    done
} >"$room/now"
same "$(grep -c '^micro' "$room/now")" $((QUICK ? 80 : 120)) "lines"
grep '^FAILED' "$room/now" && bad=1
if [ "${1-}" = write ]; then
    [ $bad -eq 0 ] && cp "$room/now" $file
    finish
fi
cp $file "$room/file"
[ "$QUICK" -eq 0 ] || sed -i '/ sm90 /d' "$room/file"
if ! diff "$room/file" "$room/now" >"$room/diff"; then
    head -n 8 "$room/diff"
    fail "$(grep -c '^>' "$room/diff") lines differ from $file (written by make goldens)"
fi
finish
