/* switchyard generate MODEL --prompt TEXT: samples from a checkpoint. */
#include <errno.h>
#include <stdlib.h>

#include "cli.h"

/* Takes --name NUMBER; 0 and *bad set when it is no number. */
static void take_number(int *argc, char **argv, const char *name, double *out, const char **bad) {
    const char *text = NULL;
    if (!sy_cli_take(argc, argv, name, &text))
        return;
    char *end = NULL;
    errno = 0;
    double v = text ? strtod(text, &end) : 0;
    if (!text || end == text || *end || errno)
        *bad = name;
    else
        *out = v;
}

static int is_whole(double v, double below) { return v >= 0 && v < below && v == (double)(long long)v; }

int sy_cli_generate(int argc, char **argv) {
    struct sy_sampling how = {.prompt = "", .top_p = 1.0};
    double max_tokens = 200, temperature = 0.8, top_k = 0, top_p = 1, seed = 42;
    const char *bad = NULL;
    if (sy_cli_take(&argc, argv, "prompt", &how.prompt) && !how.prompt)
        return sy_cli_usage("generate", "--prompt needs a text");
    take_number(&argc, argv, "max-tokens", &max_tokens, &bad);
    take_number(&argc, argv, "temperature", &temperature, &bad);
    take_number(&argc, argv, "top-k", &top_k, &bad);
    take_number(&argc, argv, "top-p", &top_p, &bad);
    take_number(&argc, argv, "seed", &seed, &bad);
    if (bad)
        return sy_cli_usage("generate", "--%s needs a number", bad);
    if (!is_whole(seed, 0x1p53) || !is_whole(top_k, 0x1p31) || !is_whole(max_tokens, 0x1p31))
        return sy_cli_usage("generate", "--seed, --top-k and --max-tokens must be whole numbers from 0");
    how.max_tokens = (int64_t)max_tokens;
    how.temperature = temperature;
    how.top_k = (int64_t)top_k;
    how.top_p = top_p;
    how.seed = (uint64_t)seed;
    struct sy_config *config = NULL;
    sy_status status = sy_config_create(&config);
    if (status == SY_OK)
        status = sy_config_flags(config, &argc, argv);
    int code = 0;
    if (status == SY_OK && argc != 2)
        code = argc < 2 ? sy_cli_usage("generate", "a checkpoint or run is needed")
                        : sy_cli_not_understood("generate", argv[2]);
    struct sy_io io = sy_cli_io();
    sy_cli_catch_signals(&io, "stopping after this token", NULL);
    if (status == SY_OK && code == 0)
        status = sy_generate(config, argv[1], &how, &io);
    if (code == 0)
        code = sy_cli_finish_config(config, status);
    sy_config_destroy(config);
    return code;
}
