/* switchyard inspect PATH: prints and checks a checkpoint, a run's newest one, or a safetensors file; with
 * --experts the load of every expert over a run's steps. */
#include <string.h>
#include <unistd.h>

#include "cli.h"

static const struct sy_cli_bounds from_0 = {0, 1000000}, from_1 = {1, 1000000};

int sy_cli_inspect(int argc, char **argv) {
    struct sy_experts_options o = {.size = sizeof o, .layer = -1};
    int experts = sy_cli_take_flag(&argc, argv, "experts"), others = argc;
    if (sy_cli_take_number(&argc, argv, "layer", "inspect", from_0, &o.layer))
        return 2;
    if (sy_cli_take_number(&argc, argv, "rows", "inspect", from_1, &o.rows))
        return 2;
    o.json = sy_cli_take_flag(&argc, argv, "json");
    if (!experts && argc != others)
        return sy_cli_usage("inspect", "--layer, --rows and --json go with --experts");
    for (int i = 1; i < argc; i++)
        if (i > 1 || strncmp(argv[i], "--", 2) == 0)
            return sy_cli_not_understood("inspect", argv[i]);
    if (argc != 2)
        return sy_cli_usage("inspect", experts ? "one run is needed" : "one path is needed");
    struct sy_io io = sy_cli_io();
    if (!experts)
        return sy_cli_finish(sy_inspect(argv[1], &io));
    o.utf8 = isatty(STDOUT_FILENO) && sy_cli_is_utf8();
    return sy_cli_finish(sy_inspect_experts(argv[1], &o, &io));
}
