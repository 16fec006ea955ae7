/* switchyard replay RUN --step N: a step done again, in any layout; 0: the run's digest, 1: another. */

#include "cli.h"

static int replay(int argc, char **argv) {
    const struct sy_cli_bounds any = {INT64_MIN, INT64_MAX};
    const char *text = NULL;
    int64_t step;
    sy_cli_take(&argc, argv, "step", &text);
    if (!sy_cli_number(text, any, &step))
        return sy_cli_no_number("replay", "step", text, any);
    struct sy_config *config = NULL;
    sy_status status = sy_config_create(&config);
    if (status == SY_OK)
        status = sy_config_flags(config, &argc, argv);
    int code = 0;
    if (status == SY_OK && argc != 2)
        code =
            argc < 2 ? sy_cli_usage("replay", "a run is needed") : sy_cli_not_understood("replay", argv[2]);
    struct sy_io io = sy_cli_io();
    sy_cli_rank = sy_process_rank(config);
    sy_cli_catch_signals(&io, "stopping after this step", NULL);
    if (status == SY_OK && code == 0)
        status = sy_replay(config, argv[1], step, &io);
    if (code == 0)
        code = sy_cli_finish_config(config, status);
    sy_config_destroy(config);
    return code;
}

int sy_cli_replay(int argc, char **argv) { return sy_cli_as_rank(replay, argc, argv); }
