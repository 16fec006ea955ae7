/* switchyard tokenizer train FILE ... --vocab-size N --out FOLDER: trains a byte-level BPE. */
#include <string.h>

#include "cli.h"

enum { MAX_SPECIAL = 900 };

int sy_cli_tokenizer(int argc, char **argv) {
    static const char *special[MAX_SPECIAL];
    struct sy_tokenizer_train_options o = {.size = sizeof o, .min_frequency = 2, .special = special};
    const struct sy_cli_bounds from_1 = {1, INT64_MAX};
    if (sy_cli_take_number(&argc, argv, "vocab-size", "tokenizer", from_1, &o.vocab_size) ||
        sy_cli_take_number(&argc, argv, "min-frequency", "tokenizer", from_1, &o.min_frequency))
        return 2;
    while (o.n_special < MAX_SPECIAL && sy_cli_take(&argc, argv, "special", &special[o.n_special]))
        if (!special[o.n_special++])
            return sy_cli_usage("tokenizer", "--special needs a text");
    if ((sy_cli_take(&argc, argv, "out", &o.out) && !o.out) ||
        (sy_cli_take(&argc, argv, "pattern", &o.pattern) && !o.pattern) ||
        (sy_cli_take(&argc, argv, "text-key", &o.text_key) && !o.text_key))
        return sy_cli_usage("tokenizer", "--out, --pattern and --text-key need a value");
    o.nfc = sy_cli_take_flag(&argc, argv, "nfc");
    o.replace = sy_cli_take_flag(&argc, argv, "replace");
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "--", 2) == 0)
            return sy_cli_not_understood("tokenizer", argv[i]);
    if (argc < 3 || strcmp(argv[1], "train") != 0 || !o.out || !o.vocab_size)
        return sy_cli_usage("tokenizer", "train, files, --vocab-size and --out are needed");
    o.paths = (const char *const *)argv + 2;
    o.n_paths = argc - 2;
    struct sy_io io = sy_cli_io();
    return sy_cli_finish(sy_tokenizer_train(&o, &io));
}
