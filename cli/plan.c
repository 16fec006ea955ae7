/* switchyard plan CONFIG [--world N] [--gpu NAME]: what a run will hold, move and compute. */
#include "cli.h"

int sy_cli_plan(int argc, char **argv) {
    struct sy_config *config;
    const char *gpu = NULL;
    int64_t ranks = 0;
    if (sy_cli_take_number(&argc, argv, "world", "plan", (struct sy_cli_bounds){1, 1 << 20}, &ranks))
        return 2;
    if (sy_cli_take(&argc, argv, "gpu", &gpu) && !gpu)
        return sy_cli_usage("plan", "--gpu needs a name, such as h200");
    int code = sy_cli_config("plan", argc, argv, &config);
    if (code)
        return code;
    struct sy_io io = sy_cli_io();
    code = sy_cli_finish_config(config, sy_plan(config, (int)ranks, gpu, &io));
    sy_config_destroy(config);
    return code;
}
