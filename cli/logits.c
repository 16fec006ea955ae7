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

static sy_status run(struct sy_config *config, const char *model, const void *options,
                     const struct sy_io *io) {
    return sy_logits(config, model, options, io);
}

int sy_cli_logits(int argc, char **argv) {
    struct sy_logits_options o = {.size = sizeof o};
    int code = take_options(&argc, argv, &o);
    if (code)
        return code;
    return sy_cli_on_model(
        argc, argv, &(struct sy_cli_on_model){"logits", "a model", "stopping after this sequence", run, &o});
}
