/* switchyard info, init: about this build. */
#include "cli.h"

int sy_cli_info(int argc, char **argv) {
    (void)argv;
    if (argc != 1)
        return sy_cli_usage("info", "takes no arguments");
    struct sy_io io = sy_cli_io();
    return sy_cli_finish(sy_info(&io));
}

int sy_cli_init(int argc, char **argv) {
    const char *flavor = "";
    if (sy_cli_take(&argc, argv, "flavor", &flavor) && !flavor)
        return sy_cli_usage("init", "--flavor needs a name");
    if (argc != 1)
        return sy_cli_not_understood("init", argv[1]);
    struct sy_io io = sy_cli_io();
    return sy_cli_finish(sy_config_init(flavor, io.write, io.user));
}
