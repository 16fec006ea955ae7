/* The tables of commands and of what each takes, and `switchyard help COMMAND` from them. See cli.h. */
#include <string.h>

#include "cli.h"

const struct sy_cli_command sy_cli_commands[] = {
#define X(name, args, text) {#name, args, text, sy_cli_##name},
    SY_COMMANDS(X)
#undef X
};
const int sy_cli_n_commands = sizeof sy_cli_commands / sizeof *sy_cli_commands;

/* clang-format off */
const struct sy_cli_row sy_cli_rows[] = {
#define ARGUMENT(command, name, text) {#command, SY_CLI_ARGUMENT, name, "", text},
#define OPTION(command, name, arg, text) {#command, SY_CLI_OPTION, name, arg, text},
#define CONFIG_OPTIONS(command, text) {#command, SY_CLI_CONFIG, "section.key", "VALUE", text},
#define NOTE(command, text) {#command, SY_CLI_NOTE, "", "", text},
#include "commands.def"
};
/* clang-format on */
const int sy_cli_n_rows = sizeof sy_cli_rows / sizeof *sy_cli_rows;

const struct sy_cli_command *sy_cli_find(const char *name) {
    for (int i = 0; i < sy_cli_n_commands; i++)
        if (strcmp(name, sy_cli_commands[i].name) == 0)
            return &sy_cli_commands[i];
    return NULL;
}

int sy_cli_is_value(const char *command, char **argv, int i) {
    const char *before = argv[i - 1];
    if (i < 2 || strncmp(before, "--", 2) != 0 || strchr(before, '='))
        return 0;
    for (int r = 0; r < sy_cli_n_rows; r++)
        if (sy_cli_rows[r].kind == SY_CLI_OPTION && strcmp(sy_cli_rows[r].command, command) == 0 &&
            strcmp(sy_cli_rows[r].name, before + 2) == 0)
            return *sy_cli_rows[r].arg != 0;
    return strchr(before, '.') != NULL;
}

/* Words of `text` from column `column` on, no line longer than 79. */
static void print_wrapped(const char *text, int at, int column) {
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (at > column && at + 1 + n > 79) {
            putchar('\n');
            at = 0;
        }
        at += at > column ? printf(" ") : printf("%*s", column - at, "");
        at += printf("%.*s", n, text);
        text += n + (text[n] == ' ');
    }
    putchar('\n');
}

void sy_cli_help_command(const struct sy_cli_command *c) {
    printf("switchyard %s%s%s\n    %s\n", c->name, *c->args ? " " : "", c->args, c->text);
    for (int r = 0, n = 0; r < sy_cli_n_rows; r++) {
        const struct sy_cli_row *row = &sy_cli_rows[r];
        if (strcmp(row->command, c->name) != 0)
            continue;
        if (n++ == 0 || row->kind == SY_CLI_NOTE)
            putchar('\n');
        if (row->kind == SY_CLI_NOTE) {
            print_wrapped(row->text, 0, 2);
            continue;
        }
        const char *dashes = row->kind == SY_CLI_ARGUMENT ? "" : "--";
        const char *between = !*row->arg ? "" : row->kind == SY_CLI_CONFIG ? "=" : " ";
        int at = printf("  %s%s%s%s", dashes, row->name, between, row->arg);
        if (at > 23) {
            putchar('\n');
            at = 0;
        }
        print_wrapped(row->text, at, 24);
    }
}
