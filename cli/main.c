/* The program: finds the command and hands it its arguments. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static void print_usage(FILE *f) {
    fprintf(f, "switchyard %s: mixture-of-experts training, the same bits on every layout\n\n", sy_version());
    for (int i = 0; i < sy_cli_n_commands; i++) {
        const struct sy_cli_command *c = &sy_cli_commands[i];
        fprintf(f, "  switchyard %s%s%s\n      %s\n", c->name, *c->args ? " " : "", c->args, c->text);
    }
    fprintf(f, "\nOptions are --section.key=value; `switchyard help run.dir` explains one,\n"
               "`switchyard help train` what a command takes.\n"
               "exit: 0 done, 1 failed, 2 usage, 3 damaged data, 4 non-finite, 128 + signal\n");
}

static void write_stdout(void *user, const char *text, size_t n) { fwrite(text, 1, n, user); }

static void write_nowhere(void *user, const char *text, size_t n) {
    (void)user;
    (void)text;
    (void)n;
}

int sy_cli_help(int argc, char **argv) {
    if (argc < 2) {
        print_usage(stdout);
        return 0;
    }
    const struct sy_cli_command *c = sy_cli_find(argv[1]);
    if (c) {
        sy_cli_help_command(c);
        if (sy_config_help(argv[1], write_nowhere, NULL) != SY_OK)
            return 0;
        printf("\n"); /* a section of the config has this name, too */
    }
    return sy_cli_finish(sy_config_help(argv[1], write_stdout, stdout));
}

int sy_cli_version(int argc, char **argv) {
    (void)argc;
    (void)argv;
    printf("switchyard %s\n", sy_version());
    return 0;
}

/* COMMAND ... --help: anywhere but as the value of an option. An empty argument is no name of anything. */
static int wants_help(const char *command, int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if ((strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) &&
            !sy_cli_is_value(command, argv, i))
            return 1;
    return 0;
}

/* The option of a command whose value is empty and names nothing: "--out ''", "--out=". A text may be empty,
 * and so may a key of a config. */
static const char *empty_value(const char *command, int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        for (int r = 0; r < sy_cli_n_rows; r++) {
            const struct sy_cli_row *row = &sy_cli_rows[r];
            size_t n = strlen(row->name);
            if (row->kind != SY_CLI_OPTION || !*row->arg || strcmp(row->command, command) != 0 ||
                strcmp(row->arg, "TEXT") == 0 || strcmp(row->arg, "IDS") == 0 ||
                strncmp(argv[i], "--", 2) != 0 || strncmp(argv[i] + 2, row->name, n) != 0)
                continue;
            if (strcmp(argv[i] + 2 + n, "=") == 0 || (!argv[i][2 + n] && i + 1 < argc && !*argv[i + 1]))
                return row->name;
        }
    return NULL;
}

static int has_empty(const char *command, int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (!*argv[i] && !sy_cli_is_value(command, argv, i))
            return 1;
    return 0;
}

/* Descriptors 0, 1 and 2 that came closed are taken, by one that neither reads nor writes: else the next file
 * that is opened would have that number and get what is meant for a terminal. */
static int take_standard_descriptors(void) {
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/", O_PATH) != fd)
            return 0;
    return 1;
}

int main(int argc, char **argv) {
    if (!take_standard_descriptors())
        return 1;
    sy_cli_ignore_signals();
    if (argc < 2) {
        print_usage(stderr);
        return 2;
    }
    const char *name = argv[1];
    sy_cli_program = argv[0];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    const struct sy_cli_command *c = sy_cli_find(name);
    if (!c) {
        const char *near = sy_cli_command_near(name);
        fprintf(stderr, "switchyard: there is no command '%s'%s%s%s; `switchyard help` lists them\n", name,
                near ? ": did you mean " : "", near ? near : "", near ? "?" : "");
        return 2;
    }
    int code = 0;
    const char *empty = empty_value(c->name, argc - 1, argv + 1);
    if (wants_help(c->name, argc - 1, argv + 1))
        sy_cli_help_command(c);
    else if (has_empty(c->name, argc - 1, argv + 1))
        code = sy_cli_usage(c->name, "an argument is empty (a variable of the shell that is not set?)");
    else if (empty)
        code = sy_cli_usage(c->name, "--%s: its value is empty (a variable of the shell that is not set?)",
                            empty);
    else
        code = c->run(argc - 1, argv + 1);
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == 0) {
        if (errno != EPIPE) /* a reader that has seen enough needs no message */
            fprintf(stderr, "switchyard: the output could not be written: %s\n", strerror(errno));
        code = 1;
    }
    return code;
}
