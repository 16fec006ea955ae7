/* switchyard completion: bash completes commands, their options, the keys of a config with their words, and
 * files. */
#include <string.h>

#include "cli.h"

static void print_options(const char *command) {
    for (int r = 0; r < sy_cli_n_rows; r++) {
        const struct sy_cli_row *row = &sy_cli_rows[r];
        if (strcmp(row->command, command) != 0)
            continue;
        if (row->kind == SY_CLI_OPTION)
            printf(" --%s", row->name);
        else if (row->kind == SY_CLI_CONFIG)
            printf(" $keys");
    }
}

/* The words of an option: of `--key=word` and `--key word` alike. */
static void print_words(const char *key) {
    printf("    --%s) words='", key);
    for (int k = 0; sy_option_word(key, k); k++)
        printf("%s%s", k ? " " : "", sy_option_word(key, k));
    printf("' ;;\n");
}

int sy_cli_completion(int argc, char **argv) {
    if (argc != 1)
        return sy_cli_not_understood("completion", argv[1]);
    printf("# bash completion of switchyard %s, made by `switchyard completion`\n", sy_version());
    printf("_switchyard() {\n    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} "
           "words= keys\n    keys='");
    for (int i = 0; sy_option_key(i); i++)
        printf("%s--%s", i ? " " : "", sy_option_key(i));
    printf("'\n    COMPREPLY=()\n"
           "    # '=' is a word of its own: --key = word\n"
           "    if [ \"$cur\" = = ]; then cur=; else [ \"$prev\" = = ] && prev=${COMP_WORDS[COMP_CWORD - "
           "2]}; fi\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W '");
    for (int i = 0; i < sy_cli_n_commands; i++)
        printf("%s%s", i ? " " : "", sy_cli_commands[i].name);
    printf("' -- \"$cur\"))\n        return\n    fi\n    case $prev in\n");
    for (int i = 0; sy_option_key(i); i++)
        if (sy_option_word(sy_option_key(i), 0))
            print_words(sy_option_key(i));
    printf("    --flavor) words=$(switchyard info | sed -n '/^flavors/,$s/^  \\([^ ]*\\) .*/\\1/p') ;;\n"
           "    --device) words='cpu cuda' ;;\n    esac\n"
           "    case $cur in\n    -*) [ -n \"$words\" ] || case ${COMP_WORDS[1]} in\n");
    for (int i = 0; i < sy_cli_n_commands; i++) {
        printf("        %s) words=\"--help", sy_cli_commands[i].name);
        print_options(sy_cli_commands[i].name);
        printf("\" ;;\n");
    }
    printf("        esac ;;\n    esac\n"
           "    [ \"${COMP_WORDS[1]}\" != help ] || words=\"${keys//--/}");
    for (int i = 0; i < sy_cli_n_commands; i++)
        printf(" %s", sy_cli_commands[i].name);
    printf("\"\n    if [ -n \"$words\" ]; then\n        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
           "    else\n        COMPREPLY=($(compgen -f -- \"$cur\"))\n    fi\n}\n"
           "complete -o filenames -F _switchyard switchyard\n");
    return 0;
}
