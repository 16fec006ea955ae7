/* switchyard plot RUN: loss and load in characters, once or while it goes on; switchyard runs: which
 * runs there are. */
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli.h"

/* Takes --name N, a whole number from `low`; 0 if it is no such number. */
static int take_number(int *argc, char **argv, const char *name, int64_t low, int64_t *out) {
    const char *text = NULL;
    if (!sy_cli_take(argc, argv, name, &text))
        return 1;
    char *end = NULL;
    errno = 0;
    long long v = text ? strtoll(text, &end, 10) : 0;
    *out = v;
    return text && end != text && !*end && !errno && v >= low && v <= 1000000;
}

static int terminal_columns(void) {
    struct winsize size;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

/* A pipe takes UTF-8 where the locale has it, too: blocks are what a plot is. */
static int shows_utf8(void) { return setlocale(LC_CTYPE, "") && strcmp(nl_langinfo(CODESET), "UTF-8") == 0; }

int sy_cli_plot(int argc, char **argv) {
    int64_t width = terminal_columns();
    struct sy_plot_options o = {.layer = -1};
    if (!take_number(&argc, argv, "width", 1, &width))
        return sy_cli_usage("plot", "--width needs a whole number from 1");
    if (!take_number(&argc, argv, "rows", 1, &o.rows))
        return sy_cli_usage("plot", "--rows needs a whole number from 1");
    if (!take_number(&argc, argv, "layer", 0, &o.layer))
        return sy_cli_usage("plot", "--layer needs a whole number from 0");
    o.follow = sy_cli_take_flag(&argc, argv, "follow");
    for (int i = 1; i < argc; i++)
        if (i > 1 || argv[i][0] == '-')
            return sy_cli_not_understood("plot", argv[i]);
    if (argc != 2)
        return sy_cli_usage("plot", "one run is needed");
    o.width = (int)width;
    o.utf8 = shows_utf8();
    o.clear = o.follow && isatty(STDOUT_FILENO);
    struct sy_io io = sy_cli_io();
    if (o.follow)
        sy_cli_catch_signals(&io, "the plot ends", NULL);
    if (o.clear && io.write)
        io.write(io.user, "\033[2J", 4);
    return sy_cli_finish(sy_plot(argv[1], &o, &io));
}

int sy_cli_runs(int argc, char **argv) {
    if (argc > 1 && argv[1][0] == '-')
        return sy_cli_not_understood("runs", argv[1]);
    if (argc > 2)
        return sy_cli_not_understood("runs", argv[2]);
    struct sy_io io = sy_cli_io();
    return sy_cli_finish(sy_runs(argc > 1 ? argv[1] : "runs", &io));
}
