/* switchyard eval MODEL: how likely it finds texts, and which of several answers the likeliest. */
#include <string.h>

#include "cli.h"

static const struct sy_cli_bounds strides = {1, 1 << 30};

/* 0: as it should be. */
static int take_options(int *argc, char **argv, struct sy_eval_options *o) {
    if (sy_cli_take(argc, argv, "data", &o->data) && !o->data)
        return sy_cli_usage("eval", "--data needs a file");
    if (sy_cli_take(argc, argv, "multiple-choice", &o->multiple_choice) && !o->multiple_choice)
        return sy_cli_usage("eval", "--multiple-choice needs a file");
    if (sy_cli_take(argc, argv, "delimiter", &o->delimiter) && !o->delimiter)
        return sy_cli_usage("eval", "--delimiter needs a text");
    if (!sy_cli_take_number(argc, argv, "stride", strides, &o->stride))
        return sy_cli_usage("eval", "--stride needs a whole number from 1");
    o->json = sy_cli_take_flag(argc, argv, "json");
    return 0;
}

int sy_cli_eval(int argc, char **argv) {
    struct sy_eval_options o = {.size = sizeof o};
    int code = take_options(&argc, argv, &o);
    if (code)
        return code;
    struct sy_config *config = NULL;
    sy_status status = sy_config_create(&config);
    if (status == SY_OK)
        status = sy_config_flags(config, &argc, argv);
    if (status == SY_OK && argc != 2)
        code = argc < 2 ? sy_cli_usage("eval", "a model is needed") : sy_cli_not_understood("eval", argv[2]);
    struct sy_io io = sy_cli_io();
    sy_cli_catch_signals(&io, "stopping after this text", NULL);
    if (status == SY_OK && code == 0)
        status = sy_eval(config, argv[1], &o, &io);
    if (code == 0)
        code = sy_cli_finish_config(config, status);
    sy_config_destroy(config);
    return code;
}
