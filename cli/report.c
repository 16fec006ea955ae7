/* switchyard report RUN ... [-o FILE]: one page about runs. */
#include "cli.h"

int sy_cli_report(int argc, char **argv) {
    const char *out = NULL;
    int given = sy_cli_take(&argc, argv, "output", &out) || sy_cli_take_short(&argc, argv, 'o', &out);
    if (given && (!out || !*out))
        return sy_cli_usage("report", "-o needs the name of a file");
    for (int i = 1; i < argc; i++)
        if (argv[i][0] == '-')
            return sy_cli_not_understood("report", argv[i]);
    if (argc < 2)
        return sy_cli_usage("report", "a run is needed");
    struct sy_io io = sy_cli_io();
    return sy_cli_finish(sy_report((const char *const *)(argv + 1), argc - 1, out, &io));
}
