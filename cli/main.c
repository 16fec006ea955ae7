/* The program: finds the command and hands it its arguments. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static const struct command {
    const char *name, *args, *text;
    int (*run)(int argc, char **argv);
} commands[] = {
#define X(name, args, text) {#name, args, text, sy_cli_##name},
    SY_COMMANDS(X)
#undef X
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void print_usage(FILE *f) {
    fprintf(f, "switchyard %s: mixture-of-experts training, the same bits on every layout\n\n", sy_version());
    for (int i = 0; i < N_COMMANDS; i++)
        fprintf(f, "  switchyard %s%s%s\n      %s\n", commands[i].name, *commands[i].args ? " " : "", commands[i].args,
                commands[i].text);
    fprintf(f, "\nOptions are --section.key=value; `switchyard help run.dir` explains one.\n"
               "exit: 0 done, 1 failed, 2 usage, 3 damaged data, 4 non-finite, 128 + signal\n");
}

static void write_stdout(void *user, const char *text, size_t n) { fwrite(text, 1, n, user); }

int sy_cli_help(int argc, char **argv) {
    if (argc < 2) {
        print_usage(stdout);
        return 0;
    }
    for (int i = 0; i < N_COMMANDS; i++)
        if (strcmp(argv[1], commands[i].name) == 0) {
            printf("switchyard %s%s%s\n    %s\n", commands[i].name, *commands[i].args ? " " : "", commands[i].args,
                   commands[i].text);
            return 0;
        }
    return sy_cli_finish(sy_config_help(argv[1], write_stdout, stdout));
}

int sy_cli_version(int argc, char **argv) {
    (void)argc;
    (void)argv;
    printf("switchyard %s\n", sy_version());
    return 0;
}

static const struct command *find(const char *name) {
    for (int i = 0; i < N_COMMANDS; i++)
        if (strcmp(name, commands[i].name) == 0)
            return &commands[i];
    return NULL;
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
    const struct command *c = find(name);
    if (!c) {
        fprintf(stderr, "switchyard: there is no command '%s'; `switchyard help` lists them\n", name);
        return 2;
    }
    if (argc == 3 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0)) {
        argv[2] = (char *)c->name; /* COMMAND --help is help COMMAND */
        c = find("help");
    }
    int code = c->run(argc - 1, argv + 1);
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == 0) {
        if (errno != EPIPE) /* a reader that has seen enough needs no message */
            fprintf(stderr, "switchyard: the output could not be written: %s\n", strerror(errno));
        code = 1;
    }
    return code;
}
