/* What the commands share: errors, progress, arguments. See cli.h. */
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli.h"

const char *sy_cli_program = "switchyard";

volatile sig_atomic_t sy_cli_live_line;

int sy_cli_rank;

int sy_cli_as_rank(int (*command)(int argc, char **argv), int argc, char **argv) {
    sy_cli_rank = sy_process_rank(NULL);
    int code = command(argc, argv);
    if (sy_cli_rank > 0 && code)
        sleep(1);
    return code;
}

/* What another rank has failed in comes as "rank 3: ...", and the first process says it. */
static int is_of_another(const char *message) {
    size_t n = strncmp(message, "rank ", 5) == 0 ? strspn(message + 5, "0123456789") : 0;
    return n > 0 && strncmp(message + 5 + n, ": ", 2) == 0;
}

static void print_error(const char *message) {
    if (sy_cli_rank == 0)
        fprintf(stderr, "switchyard: %s\n", message);
    else if (!is_of_another(message))
        fprintf(stderr, "switchyard: rank %d: %s\n", sy_cli_rank, message);
}

int sy_cli_finish(sy_status status) {
    sy_cli_progress_end();
    if (status != SY_OK && status != SY_STOPPED)
        print_error(sy_error_message());
    return status == SY_STOPPED && sy_cli_signal() ? 128 + sy_cli_signal() : sy_status_exit_code(status);
}

static void print_problems(const struct sy_config *config) {
    int n = 0, i = 0;
    const char *line;
    sy_cli_progress_end();
    if (sy_cli_rank > 0)
        return; /* the first process says them */
    for (; (line = sy_config_problem(config, i, &n)); i++)
        fprintf(stderr, "switchyard: %s\n", line);
    if (n > i)
        fprintf(stderr, "switchyard: and %d more\n", n - i);
}

int sy_cli_finish_config(const struct sy_config *config, sy_status status) {
    const char *first = config ? sy_config_problem(config, 0, NULL) : NULL;
    if (status != SY_ERR_USAGE || !first || strcmp(first, sy_error_message()) != 0)
        return sy_cli_finish(status);
    print_problems(config);
    return sy_status_exit_code(status);
}

int sy_cli_not_understood(const char *command, const char *arg) {
    size_t n = strncmp(arg, "--", 2) == 0 ? strcspn(arg + 2, "=") : 0;
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : 0), arg + 2 * (n > 0));
    const struct sy_cli_row *own = *name ? sy_cli_option_near(command, name) : NULL;
    if (own && strcmp(own->name, name) == 0 && arg[2 + n] && !*own->arg)
        return sy_cli_usage(command, "--%s takes no value", name);
    if (own && strcmp(own->name, name) == 0)
        return sy_cli_usage(command, "--%s is there twice", name);
    const char *meant = own ? own->name : *name && sy_cli_takes_keys(command) ? sy_option_meant(name) : NULL;
    if (!meant)
        return sy_cli_usage(command, "'%s' is not understood", arg);
    return sy_cli_usage(command, "'%s' is not understood: did you mean --%s%s?", arg, meant, arg + 2 + n);
}

int sy_cli_usage(const char *command, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "switchyard %s: ", command);
    vfprintf(stderr, fmt, args);
    fprintf(stderr, "; `switchyard help %s` shows how\n", command);
    va_end(args);
    return 2;
}

/* --- io ------------------------------------------------------------------------------------------------- */

void sy_cli_progress_end(void) {
    if (sy_cli_live_line)
        fputc('\n', stderr);
    sy_cli_live_line = 0;
}

static void write_out(void *user, const char *text, size_t n) {
    (void)user;
    sy_cli_progress_end();
    fwrite(text, 1, n, stdout);
    fflush(stdout);
}

static void log_line(void *user, int warning, const char *line) {
    (void)user;
    sy_cli_progress_end();
    fprintf(stderr, "%s%s\n", warning ? "warning: " : "", line);
}

/* Of the terminal that stderr is now; 0 if it is none. */
static int terminal_columns(void) {
    struct winsize size;
    if (!isatty(STDERR_FILENO))
        return 0;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

/* A terminal that was made narrower cuts the line: one that wraps would not be written over. */
static void progress(void *user, const struct sy_progress *p) {
    (void)user;
    int columns = terminal_columns();
    sy_cli_signal_note(p->step_seconds);
    if (!p->line) {
        sy_cli_progress_end();
        fprintf(stderr, "%s\n", p->head);
    } else if (columns) {
        fprintf(stderr, "\r%.*s\033[K", columns - 1, p->line);
        sy_cli_live_line = 1;
    } else if (p->due) {
        fprintf(stderr, "%s\n", p->line);
    }
}

struct sy_io sy_cli_io(void) {
    int columns = terminal_columns();
    return (struct sy_io){.size = sizeof(struct sy_io),
                          .write = write_out,
                          .log = log_line,
                          .progress = progress,
                          .columns = columns ? columns - 1 : 0};
}

/* --- arguments ------------------------------------------------------------------------------------------ */

static void drop(int *argc, char **argv, int at, int n) {
    for (int i = at; i + n <= *argc; i++)
        argv[i] = argv[i + n];
    *argc -= n;
}

int sy_cli_take(int *argc, char **argv, const char *name, const char **value) {
    size_t n = strlen(name);
    for (int i = 1; i < *argc; i++) {
        if (strncmp(argv[i], "--", 2) != 0 || strncmp(argv[i] + 2, name, n) != 0)
            continue;
        if (argv[i][2 + n] == '=') {
            *value = argv[i] + 3 + n;
            drop(argc, argv, i, 1);
            return 1;
        }
        if (argv[i][2 + n] == 0) {
            *value = i + 1 < *argc ? argv[i + 1] : NULL;
            drop(argc, argv, i, *value ? 2 : 1);
            return 1;
        }
    }
    return 0;
}

int sy_cli_take_short(int *argc, char **argv, char letter, const char **value) {
    for (int i = 1; i < *argc; i++) {
        if (argv[i][0] != '-' || argv[i][1] != letter || argv[i][2])
            continue;
        *value = i + 1 < *argc ? argv[i + 1] : NULL;
        drop(argc, argv, i, *value ? 2 : 1);
        return 1;
    }
    return 0;
}

int sy_cli_number(const char *text, struct sy_cli_bounds bounds, int64_t *out) {
    char *end = NULL;
    errno = 0;
    long long v = text ? strtoll(text, &end, 10) : 0;
    *out = v;
    return text && end != text && !*end && !errno && v >= bounds.low && v <= bounds.high;
}

int sy_cli_take_number(int *argc, char **argv, const char *name, const char *command,
                       struct sy_cli_bounds bounds, int64_t *out) {
    const char *text = NULL;
    if (!sy_cli_take(argc, argv, name, &text) || sy_cli_number(text, bounds, out))
        return 0;
    return sy_cli_no_number(command, name, text, bounds);
}

int sy_cli_no_number(const char *command, const char *name, const char *text, struct sy_cli_bounds bounds) {
    char range[64] = "";
    if (bounds.high < INT64_MAX)
        snprintf(range, sizeof range, ", %lld to %lld", (long long)bounds.low, (long long)bounds.high);
    else if (bounds.low > INT64_MIN)
        snprintf(range, sizeof range, " from %lld", (long long)bounds.low);
    if (!text)
        return sy_cli_usage(command, "--%s needs a whole number%s", name, range);
    return sy_cli_usage(command, "--%s %s: must be a whole number%s", name, text, range);
}

int sy_cli_is_utf8(void) { return setlocale(LC_CTYPE, "") && strcmp(nl_langinfo(CODESET), "UTF-8") == 0; }

int sy_cli_take_flag(int *argc, char **argv, const char *name) {
    for (int i = 1; i < *argc; i++)
        if (strncmp(argv[i], "--", 2) == 0 && strcmp(argv[i] + 2, name) == 0) {
            drop(argc, argv, i, 1);
            return 1;
        }
    return 0;
}

/* Flags and file, each with all that is wrong with it. */
static int load_config(const char *command, int argc, char **argv, struct sy_config *config) {
    sy_status flags = sy_config_flags(config, &argc, argv);
    if (flags != SY_OK && flags != SY_ERR_USAGE)
        return sy_cli_finish(flags);
    if (argc < 2 && flags == SY_OK)
        return sy_cli_usage(command, "a config file is needed");
    if (argc > 2 && flags == SY_OK)
        return sy_cli_not_understood(command, argv[2]);
    sy_status file = argc > 1 ? sy_config_load_file(config, argv[1]) : SY_OK;
    if (flags == SY_OK && file == SY_OK)
        return 0;
    print_problems(config);
    if (file != SY_OK && file != SY_ERR_USAGE)
        sy_cli_finish(file);
    return file == SY_OK || file == SY_ERR_IO
               ? 2
               : sy_status_exit_code(file); /* a config that is not there: a wrong call */
}

int sy_cli_on_model(int argc, char **argv, const struct sy_cli_on_model *o) {
    struct sy_config *config = NULL;
    struct sy_io io = sy_cli_io();
    int code = 0;
    sy_status status = sy_config_create(&config);
    if (status == SY_OK)
        status = sy_config_flags(config, &argc, argv);
    if (status == SY_OK && argc != 2)
        code = argc < 2 ? sy_cli_usage(o->command, "%s is needed", o->needed)
                        : sy_cli_not_understood(o->command, argv[2]);
    sy_cli_catch_signals(&io, o->stopping, NULL);
    if (status == SY_OK && code == 0)
        status = o->run(config, argv[1], o->options, &io);
    if (code == 0)
        code = sy_cli_finish_config(config, status);
    sy_config_destroy(config);
    return code;
}

int sy_cli_config(const char *command, int argc, char **argv, struct sy_config **out) {
    struct sy_config *config = NULL;
    sy_status status = sy_config_create(&config);
    int code = status == SY_OK ? load_config(command, argc, argv, config) : sy_cli_finish(status);
    if (code)
        sy_config_destroy(config);
    else
        *out = config;
    return code;
}

void sy_cli_config_name(const char *path, char out[256]) {
    const char *slash = strrchr(path, '/');
    snprintf(out, 256, "%s", slash ? slash + 1 : path);
    char *dot = strrchr(out, '.');
    if (dot && dot != out && strcmp(dot, ".toml") == 0)
        *dot = 0;
}
