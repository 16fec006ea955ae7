/* switchyard plan CONFIG [--world N] [--gpu NAME]: what a run will hold, move and compute. */
#include <stdlib.h>

#include "cli.h"

int sy_cli_plan(int argc, char **argv) {
    struct sy_config *config;
    const char *world = "0", *gpu = NULL;
    char *end = NULL;
    int given = sy_cli_take(&argc, argv, "world", &world);
    long ranks = world ? strtol(world, &end, 10) : 0;
    if (given && (!end || end == world || *end || ranks < 1 || ranks > 1 << 20))
        return sy_cli_usage("plan", "--world needs a number of ranks, 1 to %d", 1 << 20);
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
