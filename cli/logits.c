/* switchyard logits MODEL: its logits after every token of texts, into a file, or beside those of another. */
#include <string.h>

#include "cli.h"

/* 0: as it should be. */
static int take_options(int *argc, char **argv, struct sy_logits_options *o) {
    if (sy_cli_take(argc, argv, "text", &o->text) && !o->text)
        return sy_cli_usage("logits", "--text needs a text");
    if (sy_cli_take(argc, argv, "data", &o->data) && !o->data)
        return sy_cli_usage("logits", "--data needs a file");
    if (sy_cli_take(argc, argv, "out", &o->out) && !o->out)
        return sy_cli_usage("logits", "--out needs a path");
    if (sy_cli_take(argc, argv, "compare", &o->compare) && !o->compare)
        return sy_cli_usage("logits", "--compare needs a file of logits or a model");
    o->json = sy_cli_take_flag(argc, argv, "json");
    return 0;
}

int sy_cli_logits(int argc, char **argv) {
    struct sy_logits_options o = {.size = sizeof o};
    int code = take_options(&argc, argv, &o);
    if (code)
        return code;
    struct sy_config *config = NULL;
    sy_status status = sy_config_create(&config);
    if (status == SY_OK)
        status = sy_config_flags(config, &argc, argv);
    if (status == SY_OK && argc != 2)
        code =
            argc < 2 ? sy_cli_usage("logits", "a model is needed") : sy_cli_not_understood("logits", argv[2]);
    struct sy_io io = sy_cli_io();
    sy_cli_catch_signals(&io, "stopping after this sequence", NULL);
    if (status == SY_OK && code == 0)
        status = sy_logits(config, argv[1], &o, &io);
    if (code == 0)
        code = sy_cli_finish_config(config, status);
    sy_config_destroy(config);
    return code;
}
