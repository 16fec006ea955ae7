# 20 steps of both micro models in each class end with the bits in tests/data/goldens.txt: loss of each step and weights.
# So do 4 steps of two configs in which the rules for subnormal numbers are seen (tests/data/small_*.toml).
# `make goldens` runs this with `write`: a change there is a new op version and a `numerics:` line in the CHANGELOG.
. tests/lib/check.sh
QUICK=${QUICK:-0}
[ "${1-}" != write ] || QUICK=0

file=tests/data/goldens.txt
{
    echo "# model class step loss_bits weights_digest: written by \`make goldens\`; a change here is a change of numerics"
    for config in configs/micro_mla.toml configs/micro_gqa.toml tests/data/small_gradients.toml tests/data/small_logits.toml; do
        model=$(basename $config .toml)
        steps=4
        [ "${config%%/*}" = tests ] || steps=20
        for class in x86 amx sm90 fp32; do
            [ "$QUICK" -eq 0 ] || [ $class != sm90 ] || continue # slow under a sanitizer
            train $model-$class --numerics.class=$class --training.steps=$steps --checkpoint.enable=false
            expect 0 "$model $class"
            history $model-$class | while read -r step loss _ weights; do echo "$model $class $step $loss $weights"; done
        done
    done
} >"$room/now"
same "$(grep -c '^[ms]' "$room/now")" $((QUICK ? 144 : 192)) "lines"
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
