/* switchyard convert MODEL OUT: a model folder for sharing. */
#include <string.h>

#include "cli.h"

int sy_cli_convert(int argc, char **argv) {
    struct sy_convert_options o = {.size = sizeof o};
    if (sy_cli_take(&argc, argv, "dtype", &o.dtype) && !o.dtype)
        return sy_cli_usage("convert", "--dtype needs bf16, fp16 or fp32");
    if (sy_cli_take(&argc, argv, "max-shard", &o.max_shard) && !o.max_shard)
        return sy_cli_usage("convert", "--max-shard needs a size, as 5GB");
    for (int i = 1; i < argc; i++)
        if (i > 2 || strncmp(argv[i], "--", 2) == 0)
            return sy_cli_not_understood("convert", argv[i]);
    if (argc != 3)
        return sy_cli_usage("convert", "a model and a new folder are needed");
    struct sy_io io = sy_cli_io();
    sy_cli_catch_signals(&io, "stopping, nothing is left behind", NULL);
    return sy_cli_finish(sy_convert(argv[1], argv[2], &o, &io));
}
