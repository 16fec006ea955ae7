/* switchyard tokenize TOKENIZER FILE ...: text to ids and back. */
#include <string.h>

#include "cli.h"

int sy_cli_tokenize(int argc, char **argv) {
    struct sy_tokenize_options o = {.size = sizeof o};
    int64_t threads = 0;
    if ((sy_cli_take(&argc, argv, "text", &o.text) && !o.text) ||
        (sy_cli_take(&argc, argv, "ids", &o.ids) && !o.ids))
        return sy_cli_usage("tokenize", "--text needs a text, --ids a list of ids");
    if (sy_cli_take(&argc, argv, "out", &o.out) && !o.out)
        return sy_cli_usage("tokenize", "--out needs a path");
    if (sy_cli_take(&argc, argv, "text-key", &o.text_key) && !o.text_key)
        return sy_cli_usage("tokenize", "--text-key needs a key");
    if (sy_cli_take_number(&argc, argv, "threads", "tokenize", (struct sy_cli_bounds){0, 1024}, &threads))
        return 2;
    o.threads = (int)threads;
    o.decode = sy_cli_take_flag(&argc, argv, "decode");
    o.count = sy_cli_take_flag(&argc, argv, "count");
    o.replace = sy_cli_take_flag(&argc, argv, "replace");
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "--", 2) == 0)
            return sy_cli_not_understood("tokenize", argv[i]);
    if (argc < 2)
        return sy_cli_usage("tokenize", "a tokenizer is needed");
    o.tokenizer = argv[1];
    o.paths = (const char *const *)argv + 2;
    o.n_paths = argc - 2;
    struct sy_io io = sy_cli_io();
    return sy_cli_finish(sy_tokenize(&o, &io));
}
