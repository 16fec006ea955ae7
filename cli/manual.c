/* switchyard manual: docs/switchyard.1, the manual page, from the tables of commands. */
#include <string.h>

#include "cli.h"

/* Text in roff: '-' and '\\' as they are, no line that begins with '.'. */
static void put(const char *text) {
    for (; *text; text++) {
        if (*text == '-' || *text == '\\')
            printf(*text == '-' ? "\\-" : "\\e");
        else
            putchar(*text);
    }
}

static void paragraph(const char *text) {
    printf(".PP\n");
    put(text);
    putchar('\n');
}

/* `--name ARG` as a tagged paragraph. */
static void put_row(const struct sy_cli_row *row) {
    if (row->kind == SY_CLI_NOTE) {
        paragraph(row->text);
        return;
    }
    printf(".TP\n%s", row->kind == SY_CLI_ARGUMENT ? "\\fI" : "\\fB");
    put(row->kind == SY_CLI_ARGUMENT ? "" : "--");
    put(row->name);
    printf("\\fR");
    if (*row->arg) {
        printf(row->kind == SY_CLI_CONFIG ? "=\\fI" : " \\fI");
        put(row->arg);
        printf("\\fR");
    }
    putchar('\n');
    put(row->text);
    putchar('\n');
}

static void put_command(const struct sy_cli_command *c) {
    printf(".SS switchyard %s%s", c->name, *c->args ? " " : "");
    put(c->args);
    putchar('\n');
    put(c->text);
    printf(".\n");
    for (int r = 0; r < sy_cli_n_rows; r++)
        if (strcmp(sy_cli_rows[r].command, c->name) == 0)
            put_row(&sy_cli_rows[r]);
}

int sy_cli_manual(int argc, char **argv) {
    if (argc != 1)
        return sy_cli_not_understood("manual", argv[1]);
    printf(".\\\" made by `switchyard manual`; do not edit\n.TH SWITCHYARD 1 \"\" \"switchyard %s\"\n",
           sy_version());
    printf(".SH NAME\nswitchyard \\- mixture\\-of\\-experts training, the same bits on every layout\n");
    printf(".SH SYNOPSIS\n");
    for (int i = 0; i < sy_cli_n_commands; i++) {
        printf("%s.B switchyard %s\n", i ? ".br\n" : "", sy_cli_commands[i].name);
        put(sy_cli_commands[i].args);
        printf("%s", *sy_cli_commands[i].args ? "\n" : "");
    }
    printf(".SH DESCRIPTION\n");
    put("switchyard trains mixture-of-experts language models with one program, and with the same bits for "
        "any number of "
        "threads, any micro-batch, recompute on or off, any SIMD tier, interrupted and resumed or not. A "
        "config is a TOML "
        "file; every key of it can be an option.");
    printf("\n.SH COMMANDS\n");
    for (int i = 0; i < sy_cli_n_commands; i++)
        put_command(&sy_cli_commands[i]);
    printf(".SH EXIT STATUS\n");
    put("0 done, 1 failed, 2 usage or config, 3 damaged checkpoint or data, 4 stopped on a non-finite "
        "loss, 128 and the "
        "signal's number when one stopped it with a checkpoint saved. diff gives 1 when the runs differ.");
    printf("\n.SH FILES\n.TP\n\\fIruns/\\fR<name of the config>\n");
    put("a run, unless run.dir says otherwise: config.toml, log.txt, metrics.jsonl, checkpoints/");
    printf("\n.SH SEE ALSO\n");
    put("README.md, docs/CONFIG.md (every key), docs/NUMERICS.md (what the bits depend on)");
    putchar('\n');
    return 0;
}
