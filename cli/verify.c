/* switchyard verify CONFIG [--steps N] [--layouts N] [--only F=V] [--break NAME]: many layouts, one
 * digest. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

enum { MOST_ONLY = 32 }; /* --only */

static int verify(int argc, char **argv) {
    const struct sy_cli_bounds any = {INT64_MIN, INT64_MAX};
    const char *plant = NULL, *only[MOST_ONLY];
    int n_only = 0;
    int64_t n = 3, most = 0;
    if (sy_cli_take_number(&argc, argv, "steps", "verify", any, &n))
        return 2;
    if (sy_cli_take_number(&argc, argv, "layouts", "verify", any, &most))
        return 2;
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
        .size = sizeof options, .steps = n, .layouts = most, .plant = plant, .only = only, .n_only = n_only};
    code = sy_cli_finish_config(config, sy_verify(config, &options, &io)); /* a list needs no config */
    sy_config_destroy(config);
    return code;
}

int sy_cli_verify(int argc, char **argv) { return sy_cli_as_rank(verify, argc, argv); }
