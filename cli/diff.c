/* switchyard diff A B [--locate]: where two runs or checkpoints part; 0 equal, 1 different. */
#include "cli.h"

int sy_cli_diff(int argc, char **argv) {
    int locate = sy_cli_take_flag(&argc, argv, "locate");
    if (argc != 3)
        return sy_cli_usage("diff", "two runs (or two checkpoints) are needed");
    struct sy_io io = sy_cli_io();
    int equal = 0;
    int code = sy_cli_finish((locate ? sy_diff_locate : sy_diff)(argv[1], argv[2], &io, &equal));
    return code ? code : !equal;
}
