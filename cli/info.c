/* switchyard info, init, bench: about this build. */
#include "cli.h"

#include <string.h>

int sy_cli_info(int argc, char **argv) {
    (void)argv;
    if (argc != 1)
        return sy_cli_usage("info", "takes no arguments");
    struct sy_io io = sy_cli_io(1);
    return sy_cli_finish(sy_info(&io));
}

int sy_cli_init(int argc, char **argv) {
    const char *flavor = "";
    if (sy_cli_take(&argc, argv, "flavor", &flavor) && !flavor)
        return sy_cli_usage("init", "--flavor needs a name");
    if (argc != 1)
        return sy_cli_not_understood("init", argv[1]);
    struct sy_io io = sy_cli_io(1);
    return sy_cli_finish(sy_config_init(flavor, io.write, io.user));
}

int sy_cli_bench(int argc, char **argv) {
    int json = sy_cli_take_flag(&argc, argv, "json");
    if (argc > 2)
        return sy_cli_not_understood("bench", argv[2]);
    struct sy_io io = sy_cli_io(1);
    return sy_cli_finish(sy_bench(argc == 2 ? argv[1] : "gemm", json, &io));
}
