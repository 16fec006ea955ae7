# Help fits in 80 columns, goes to stdout and exits 0; every option has help; what init prints is a config that works.
. tests/lib/check.sh

run
expect 2 "no arguments"
says "switchyard train CONFIG" "no arguments: usage"
run help
expect 0 "help"
cp "$room/out" "$room/help"
for word in -h --help; do
    run $word
    cmp "$room/out" "$room/help" || fail "$word is not help"
done
"$BIN" help 2>/dev/null | cmp - "$room/help" || fail "help goes to stderr"

wide() { # WHAT: of $room/out
    awk -v what="$1" 'length($0) > 80 { print what ": " length($0) " columns: " $0; bad = 1 } END { exit bad }' "$room/out" ||
        fail "$1: wider than 80 columns"
}
wide "help"
commands=$(sed -n 's/^  switchyard \([a-z]*\).*/\1/p' "$room/help")
[ "$(echo "$commands" | wc -l)" -ge 10 ] || fail "help lists too few commands: $commands"
for command in $commands; do
    run help "$command"
    expect 0 "help $command"
    says "^switchyard $command" "help $command"
    wide "help $command"
done
# The rows of fields.def: each key has a default, what it accepts and a sentence.
keys=$(sed -n 's/^\(INT\|REAL\|BOOL\|CHOICE\|LIST\|PATH\|PATHS\)(\([a-z_]*\), \([a-z_0-9]*\),.*/\2.\3/p; s/^TEXT(\([a-z_]*\), [a-z_]*, "\([a-z_]*\)".*/\1.\2/p' \
    src/config/fields.def)
[ "$(echo "$keys" | wc -l)" -ge 90 ] || fail "too few keys in fields.def: $(echo "$keys" | wc -l)"
for key in $keys; do
    run help "$key"
    expect 0 "help $key"
    says "^$key = " "help $key"
    says "^  accepts: " "help $key"
    wide "help $key"
done
for section in $(echo "$keys" | sed 's/\..*//' | sort -u); do
    run help "$section"
    expect 0 "help $section"
    says "^\[$section\]" "help $section"
    wide "help $section"
done

# init's config is read back, plans like the flavor and fits.
for flavor in $("$BIN" info | sed -n '/^flavors/,$s/^  \([^ ]*\) .*/\1/p'); do
    run init --flavor "$flavor"
    expect 0 "init --flavor $flavor"
    wide "init --flavor $flavor"
    cp "$room/out" "$room/$flavor.toml"
    run plan "$room/$flavor.toml"
    expect 0 "plan of init --flavor $flavor"
    says "^parameters *$("$BIN" info | sed -n "s/^  $flavor *\([0-9]*\) .*/\1/p" | sed ':a; s/\([0-9]\)\([0-9]\{3\}\)\($\|,\)/\1,\2\3/; ta')," \
        "plan of init --flavor $flavor"
done

# The config that a run writes gives the same run.
train a --training.steps=2
want=$(digest)
config=$room/a/config.toml
train b
expect 0 "a run's own config.toml"
same "$(digest)" "$want" "a run's own config.toml: digest"

# Flags in every spelling.
config=configs/micro_gqa.toml
train c --training.steps 2 --training.local-batch-size=3 --validation.enable --checkpoint.no-enable
expect 0 "flags in other spellings"
same "$(digest)" "$want" "flags in other spellings: digest"
[ ! -e "$room/c/checkpoints" ] || fail "--checkpoint.no-enable saved"
grep -q '^local_batch_size = 3' "$room/c/config.toml" || fail "--training.local-batch-size was not taken"
finish
