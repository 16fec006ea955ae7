/* switchyard info: about this build. init [--flavor NAME] [--device cuda] [--memory GiB]
 * [--section.key=value ...]: a config. */
#include <stdlib.h>

#include "cli.h"

int sy_cli_info(int argc, char **argv) {
    (void)argv;
    if (argc != 1)
        return sy_cli_usage("info", "takes no arguments");
    struct sy_io io = sy_cli_io();
    return sy_cli_finish(sy_info(&io));
}

int sy_cli_init(int argc, char **argv) {
    struct sy_init_options o = {.size = sizeof o, .flavor = ""};
    const char *memory = NULL;
    char *end = NULL;
    if (sy_cli_take(&argc, argv, "flavor", &o.flavor) && !o.flavor)
        return sy_cli_usage("init", "--flavor needs a name");
    int has_device = sy_cli_take(&argc, argv, "device", &o.device);
    int has_memory = sy_cli_take(&argc, argv, "memory", &memory);
    o.memory_gib = memory ? strtod(memory, &end) : 0;
    if (has_device && !o.device)
        return sy_cli_usage("init", "--device needs a name: cpu, cuda or cuda:N");
    if (has_memory && (!memory || end == memory || *end || !(o.memory_gib > 0 && o.memory_gib <= 1 << 20)))
        return sy_cli_usage("init", "--memory %s: must be a number of GiB, above 0 to %d",
                            memory ? memory : "", 1 << 20);
    struct sy_config *config = NULL;
    struct sy_io io = sy_cli_io();
    sy_status status = sy_config_create(&config);
    if (status == SY_OK)
        status = sy_config_flags(config, &argc, argv);
    int code = status == SY_OK && argc != 1 ? sy_cli_not_understood("init", argv[1]) : 0;
    if (status == SY_OK && code == 0)
        status = sy_init(config, &o, &io);
    if (code == 0)
        code = sy_cli_finish_config(config, status);
    sy_config_destroy(config);
    return code;
}
