/* switchyard inspect PATH: prints and checks a checkpoint, a run's newest one, or a safetensors file; with
 * --experts the load of every expert over a run's steps. */
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

/* Takes --name N, a whole number from `low` to 1000000; 0 if it is no such number. */
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

static int terminal_shows_utf8(void) {
    return isatty(STDOUT_FILENO) && setlocale(LC_CTYPE, "") && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

int sy_cli_inspect(int argc, char **argv) {
    struct sy_experts_options o = {.layer = -1};
    int experts = sy_cli_take_flag(&argc, argv, "experts"), others = argc;
    if (!take_number(&argc, argv, "layer", 0, &o.layer))
        return sy_cli_usage("inspect", "--layer needs a whole number from 0");
    if (!take_number(&argc, argv, "rows", 1, &o.rows))
        return sy_cli_usage("inspect", "--rows needs a whole number from 1");
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
    o.utf8 = terminal_shows_utf8();
    return sy_cli_finish(sy_inspect_experts(argv[1], &o, &io));
}
