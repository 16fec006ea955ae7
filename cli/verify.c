/* switchyard verify CONFIG [--steps N] [--layouts N] [--only F=V] [--break NAME]: many layouts, one digest table. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

enum { MOST_ONLY = 32 }; /* --only */

static int is_whole_number(const char *text, long long *out) {
    char *end = NULL;
    errno = 0;
    *out = text ? strtoll(text, &end, 10) : 0;
    return text && end != text && !*end && !errno;
}

static int verify(int argc, char **argv) {
    const char *steps = "3", *layouts = "0", *plant = NULL, *only[MOST_ONLY];
    int n_only = 0;
    long long n, most;
    sy_cli_take(&argc, argv, "steps", &steps);
    if (!is_whole_number(steps, &n))
        return sy_cli_usage("verify", "--steps needs a whole number");
    sy_cli_take(&argc, argv, "layouts", &layouts);
    if (!is_whole_number(layouts, &most))
        return sy_cli_usage("verify", "--layouts needs a whole number");
    while (sy_cli_take(&argc, argv, "only", &only[n_only])) {
        if (!only[n_only] || ++n_only == MOST_ONLY)
            return sy_cli_usage("verify", n_only == MOST_ONLY ? "--only is given too often"
                                                              : "--only needs FACTOR=VALUE[,VALUE...]");
    }
    if (sy_cli_take(&argc, argv, "break", &plant) && !plant)
        return sy_cli_usage("verify", "--break needs a name (or list)");
    struct sy_config *config = NULL;
    struct sy_io io = sy_cli_io();
    int code = 0;
    if (argc > 1 || !plant || strcmp(plant, "list") != 0)
        code = sy_cli_config("verify", argc, argv, &config);
    if (code)
        return code;
    sy_cli_rank = sy_process_rank(config);
    struct sy_verify_options options = {
        .steps = n, .layouts = most, .plant = plant, .only = only, .n_only = n_only};
    code = sy_cli_finish_config(config, sy_verify(config, &options, &io)); /* a list needs no config */
    sy_config_destroy(config);
    return code;
}

int sy_cli_verify(int argc, char **argv) { return sy_cli_as_rank(verify, argc, argv); }
