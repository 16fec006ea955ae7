/* switchyard report RUN ... [-o FILE]: one page about runs. */
#include <string.h>

#include "cli.h"

/* -o FILE, as of a compiler; 0: without FILE. */
static int take_o(int *argc, char **argv, const char **out) {
    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], "-o") != 0)
            continue;
        if (i + 1 == *argc)
            return 0;
        *out = argv[i + 1];
        memmove(argv + i, argv + i + 2, (size_t)(*argc - i - 1) * sizeof *argv); /* with the NULL */
        *argc -= 2;
        return 1;
    }
    return 1;
}

int sy_cli_report(int argc, char **argv) {
    const char *out = NULL;
    int given = sy_cli_take(&argc, argv, "output", &out);
    if ((given && (!out || !*out)) || !take_o(&argc, argv, &out))
        return sy_cli_usage("report", "-o needs the name of a file");
    for (int i = 1; i < argc; i++)
        if (argv[i][0] == '-')
            return sy_cli_not_understood("report", argv[i]);
    if (argc < 2)
        return sy_cli_usage("report", "a run is needed");
    struct sy_io io = sy_cli_io();
    return sy_cli_finish(sy_report((const char *const *)(argv + 1), argc - 1, out, &io));
}
