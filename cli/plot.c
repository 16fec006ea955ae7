/* switchyard plot RUN: loss and load in characters, once or while it goes on; switchyard runs: which
 * runs there are. */
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli.h"

static const struct sy_cli_bounds from_0 = {0, 1000000}, from_1 = {1, 1000000};

static int terminal_columns(void) {
    struct winsize size;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

int sy_cli_plot(int argc, char **argv) {
    int64_t width = terminal_columns();
    struct sy_plot_options o = {.size = sizeof o, .layer = -1};
    if (sy_cli_take_number(&argc, argv, "width", "plot", from_1, &width))
        return 2;
    if (sy_cli_take_number(&argc, argv, "rows", "plot", from_1, &o.rows))
        return 2;
    if (sy_cli_take_number(&argc, argv, "layer", "plot", from_0, &o.layer))
        return 2;
    o.follow = sy_cli_take_flag(&argc, argv, "follow");
    for (int i = 1; i < argc; i++)
        if (i > 1 || argv[i][0] == '-')
            return sy_cli_not_understood("plot", argv[i]);
    if (argc != 2)
        return sy_cli_usage("plot", "one run is needed");
    o.width = (int)width;
    o.utf8 = sy_cli_is_utf8(); /* in a pipe, too: blocks are what a plot is */
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
