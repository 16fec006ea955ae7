/* switchyard plan CONFIG: what a run will hold and compute. */
#include "cli.h"

int sy_cli_plan(int argc, char **argv) {
    struct sy_config *config;
    int code = sy_cli_config("plan", argc, argv, &config);
    if (code)
        return code;
    struct sy_io io = sy_cli_io();
    code = sy_cli_finish_config(config, sy_plan(config, &io));
    sy_config_destroy(config);
    return code;
}
