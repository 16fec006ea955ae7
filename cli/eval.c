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
    if (sy_cli_take_number(argc, argv, "stride", "eval", strides, &o->stride))
        return 2;
    o->json = sy_cli_take_flag(argc, argv, "json");
    return 0;
}

static sy_status run(struct sy_config *config, const char *model, const void *options,
                     const struct sy_io *io) {
    return sy_eval(config, model, options, io);
}

int sy_cli_eval(int argc, char **argv) {
    struct sy_eval_options o = {.size = sizeof o};
    int code = take_options(&argc, argv, &o);
    if (code)
        return code;
    return sy_cli_on_model(argc, argv,
                           &(struct sy_cli_on_model){"eval", "a model", "stopping after this text", run, &o});
}
