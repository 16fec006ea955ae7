/* What was meant by a command or an option of one that there is not. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

/* How far a word is from a name: 0 the name, 1 its beginning (3 letters and more), then edits, at most one in
 * three letters (two in five, as two that changed places are); INT32_MAX: it is another. */
static int far(const char *word, const char *name) {
    size_t n = strlen(word);
    char dashed[64]; /* '_' is '-' */
    snprintf(dashed, sizeof dashed, "%s", word);
    for (char *c = dashed; *c; c++)
        *c = *c == '_' ? '-' : *c;
    int edits = sy_word_distance(dashed, name);
    if (edits && n >= 3 && strncmp(word, name, n) == 0)
        return 1;
    return edits <= ((int)(n < strlen(name) ? n : strlen(name)) + 1) / 3 ? edits : INT32_MAX;
}

const struct sy_cli_row *sy_cli_option_near(const char *command, const char *name) {
    const struct sy_cli_row *best = NULL;
    int least = INT32_MAX;
    for (int r = 0; r < sy_cli_n_rows; r++) {
        const struct sy_cli_row *row = &sy_cli_rows[r];
        if (row->kind != SY_CLI_OPTION || strcmp(row->command, command) != 0 || far(name, row->name) >= least)
            continue;
        least = far(name, row->name);
        best = row;
    }
    return best;
}

const char *sy_cli_command_near(const char *word) {
    const char *best = NULL;
    int least = INT32_MAX;
    for (int i = 0; i < sy_cli_n_commands; i++)
        if (far(word, sy_cli_commands[i].name) < least) {
            best = sy_cli_commands[i].name;
            least = far(word, best);
        }
    return best;
}

int sy_cli_takes_keys(const char *command) {
    for (int r = 0; r < sy_cli_n_rows; r++)
        if (sy_cli_rows[r].kind == SY_CLI_CONFIG && strcmp(sy_cli_rows[r].command, command) == 0)
            return 1;
    return 0;
}
