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
# commands.def has what cli/ takes: its help is complete. Rows and code are compared as "command option".
sed -n 's/^OPTION(\([a-z]*\), "\([a-z-]*\)".*/\1 \2/p' cli/commands.def | sort >"$room/told"
for file in cli/*.c; do
    tr '\n' ' ' <$file | sed 's/^int sy_cli_\|[;}] *int sy_cli_/\n&/g' | # a line for each command's function
        awk -v file="$(basename "$file" .c)" \
            '{ match($0, /sy_cli_[a-z_]*\(/); command = substr($0, RSTART + 7, RLENGTH - 8)
               if (command ~ /^take/) command = file # taken before the function of the command
               while (match($0, /(sy_cli_take|sy_cli_take_flag|take_number|take_whole|take_real)\(&?argc, argv, "[a-z-]*"/)) {
                   call = substr($0, RSTART, RLENGTH); $0 = substr($0, RSTART + RLENGTH)
                   sub(/^[^"]*"/, "", call); sub(/"/, "", call); print command, call } }'
done | sort >"$room/taken"
[ "$(wc -l <"$room/taken")" -ge 13 ] || fail "too few options found in cli/: $(wc -l <"$room/taken")"
diff "$room/told" "$room/taken" || fail "cli/commands.def does not say what cli/ takes"
while read -r command option; do
    run help "$command"
    says "^  --$option( [A-Z]+)?( |$)" "help $command: --$option"
done <"$room/told"
for command in train verify plan generate; do
    run help $command
    says "^  --section.key=VALUE " "help $command"
done
run train $config --run.dir="$room/none" --training.steps=1 --help
expect 0 "train ... --help"
cp "$room/out" "$room/one"
run help train
cmp "$room/out" "$room/one" || fail "train ... --help is not help train"
run generate "$room/none" --prompt --help
expect 1 "--help as the value of --prompt"
run help zzz
expect 2 "help of nothing"

# An empty argument is told, but not as a value.
for empty in "generate" "inspect" "plan" "diff x"; do
    # shellcheck disable=SC2086
    run $empty ""
    expect 2 "$empty ''"
    says "an argument is empty" "$empty ''"
done
run generate "$room/none" --prompt ""
expect 1 "an empty prompt"
for empty in --out= "--compare " --data=; do
    # shellcheck disable=SC2086
    if [ "${empty% }" = "$empty" ]; then run logits x --text a $empty; else run logits x --text a $empty ""; fi
    expect 2 "logits $empty"
    says "${empty%[ =]}: its value is empty" "logits $empty"
done

# What is there twice, what takes no value, what was meant: of a command's own options and of the commands.
wrong() { # PATTERN arguments...
    pattern=$1
    shift
    run "$@"
    expect 2 "$*"
    says "$pattern" "$*"
}
wrong "--seed is there twice" generate x --seed 7 --seed 8
wrong "--json is there twice" generate x --json --json
wrong "-n is --samples, which is there too" generate x -n 2 --samples 3
wrong "--json takes no value" generate x --json=1
wrong "did you mean --max-tokens=3\\?" generate x --max_tokens=3
wrong "did you mean --temperature\\?" generate x --temp 0
wrong "did you mean --experts\\?" inspect --expert x
wrong "did you mean --training.steps=3\\?" train x --steps=3
wrong "'--steps' is not understood;" plot x --steps 3 # no key of a config: plot takes none
wrong "did you mean train\\?" trian x
wrong "did you mean tokenize\\?" tokenise x
wrong "no command 'fly';" fly

# A number says its bounds and what was given in its place.
wrong "--max-tokens 99999999999999: must be a whole number, 0 to 2147483647;" generate x --max-tokens 99999999999999
wrong "--seed -1: must be a whole number, 0 to 9007199254740991;" generate x --seed -1
wrong "--samples 0: must be a whole number, 1 to 1048576;" generate x --samples 0
wrong "--samples \\(-n\\) 2x: must be a whole number, 1 to" generate x -n 2x
wrong "--temperature 1,5: must be a number;" generate x --temperature 1,5
wrong "--width 0: must be a whole number, 1 to 1000000;" plot x --width 0
wrong "--world needs a whole number, 1 to 1048576;" plan x --world
wrong "--vocab-size 1e3: must be a whole number from 1;" tokenizer train x --vocab-size 1e3
wrong "--step 1.5: must be a whole number;" replay x --step 1.5
run generate "$room/none" --prompt x --temperature 1e-320 --max-tokens 1e1
expect 1 "numbers near 0 and with an exponent"

# The manual page and the completion.
run manual
expect 0 "manual"
cmp "$room/out" docs/switchyard.1 || fail "docs/switchyard.1 is not what the program says (make docs)"
for command in $commands; do
    grep -qE "^\.SS switchyard $command( |$)" docs/switchyard.1 || fail "the manual page lacks $command"
    sed 's/\\-/-/g' docs/switchyard.1 >"$room/page"
    for option in $(sed -n "s/^$command //p" "$room/told"); do
        grep -q -- "^\\\\fB--$option" "$room/page" || fail "the manual page lacks $command --$option"
    done
done
if command -v man >/dev/null && man --version >/dev/null 2>&1; then
    MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 docs/switchyard.1 2>"$room/err" >/dev/null || :
    [ ! -s "$room/err" ] || { fail "the manual page has faults"; cat "$room/err"; }
fi
run completion
expect 0 "completion"
cp "$room/out" "$room/completion.bash"
if command -v bash >/dev/null; then
    # complete WORDS...: what bash offers for the last word, "=" being a word of its own
    cat >"$room/ask.bash" <<'END'
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_switchyard
printf '%s\n' "${COMPREPLY[@]}"
END
    offers() { # WANTED WORDS...
        wanted=$1
        shift
        bash "$room/ask.bash" "$room/completion.bash" switchyard "$@" >"$room/offer" 2>&1
        grep -qx -- "$wanted" "$room/offer" || { fail "completion of '$*' does not offer $wanted"; head -n 3 "$room/offer"; }
    }
    for command in $commands; do
        offers "$command" "$(echo "$command" | cut -c1-3)"
    done
    while read -r command option; do
        offers "--$option" "$command" --
    done <"$room/told"
    offers --help train --
    offers --optimizer.lr train x.toml --opt
    offers avx512 train x.toml --run.tier = av
    offers avx512 train x.toml --run.tier = av
    offers false train x.toml --checkpoint.enable ""
    offers selective plan x.toml --activation_checkpoint.mode =
    offers micro_gqa verify x.toml --model.flavor = mi
    offers optimizer.lr help opt
    offers configs/tiny.toml train configs/ti
fi

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
