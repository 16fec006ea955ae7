/* switchyard inspect PATH: prints and checks a checkpoint, a run's newest one, or a safetensors file. */
#include "cli.h"

int sy_cli_inspect(int argc, char **argv) {
    if (argc != 2)
        return sy_cli_usage("inspect", "one path is needed");
    struct sy_io io = sy_cli_io(1);
    return sy_cli_finish(sy_inspect(argv[1], &io));
}
