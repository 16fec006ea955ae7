/* switchyard verify CONFIG [--steps N] [--break NAME]: many layouts, one digest table. */
#include <stdlib.h>

#include "cli.h"

int sy_cli_verify(int argc, char **argv) {
    const char *steps = "3", *plant = NULL;
    if (sy_cli_take(&argc, argv, "steps", &steps) && !steps)
        return sy_cli_usage("verify", "--steps needs a number");
    if (sy_cli_take(&argc, argv, "break", &plant) && !plant)
        return sy_cli_usage("verify", "--break needs a name (or list)");
    struct sy_config *config;
    int code = sy_cli_config("verify", argc, argv, &config);
    if (code)
        return code;
    struct sy_io io = sy_cli_io();
    code = sy_cli_finish(sy_verify(config, atoll(steps), plant, &io));
    sy_config_destroy(config);
    return code;
}
