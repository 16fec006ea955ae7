# sha256sum of every file of a checkpoint: equal whatever wrote it. `first` prints those of one rank; `again` what ranks of
# a layout have, which must be the same.
sums() {
    (cd "$(checkpoint "$1" 3)" && find . -type f | LC_ALL=C sort | xargs sha256sum) >"$room/sums"
}
# A run of the config in $config on one rank: the sums that all others must have.
first() {
    train one --training.steps=3
    expect 0 "$config, one rank"
    sums one
    mv "$room/sums" "$room/should"
    [ "$(grep -c ' \./[a-z]*/*[a-z_]*-*[0-9a-z-]*\.\(safetensors\|json\)$' "$room/should")" -ge 6 ] ||
        fail "$config: a checkpoint of $(wc -l <"$room/should") files"
    echo "$config, step 3, one rank:"
    cat "$room/should"
}
# again RUN WHAT: prints whether its sums are the same, and all of them where they are not.
again() {
    sums "$1"
    if cmp -s "$room/sums" "$room/should"; then
        echo "$2: the same $(wc -l <"$room/sums") sums"
    else
        fail "$2: other sums"
        diff "$room/should" "$room/sums"
    fi
}
