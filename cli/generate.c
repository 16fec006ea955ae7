/* switchyard generate MODEL --prompt TEXT: samples from a checkpoint. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* Takes --name NUMBER; *bad is set when it is no number. */
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

/* The numbers, all checked; an exit code. */
static int take_numbers(int *argc, char **argv, struct sy_generate_options *o) {
    double max_tokens = 200, temperature = 0.8, top_k = 0, top_p = 1, seed = 42;
    const char *bad = NULL, *samples = "1", *together = "8";
    int64_t n_together = 0;
    take_number(argc, argv, "max-tokens", &max_tokens, &bad);
    take_number(argc, argv, "temperature", &temperature, &bad);
    take_number(argc, argv, "top-k", &top_k, &bad);
    take_number(argc, argv, "top-p", &top_p, &bad);
    take_number(argc, argv, "seed", &seed, &bad);
    if (bad)
        return sy_cli_usage("generate", "--%s needs a number", bad);
    if (!is_whole(seed, 0x1p53) || !is_whole(top_k, 0x1p31) || !is_whole(max_tokens, 0x1p31))
        return sy_cli_usage("generate", "--seed, --top-k and --max-tokens must be whole numbers from 0");
    if (!sy_cli_take(argc, argv, "samples", &samples))
        sy_cli_take_short(argc, argv, 'n', &samples);
    if (!sy_cli_number(samples, (struct sy_cli_bounds){1, 1 << 20}, &o->samples))
        return sy_cli_usage("generate", "--samples (-n) needs a number, 1 to %d", 1 << 20);
    sy_cli_take(argc, argv, "together", &together);
    if (!sy_cli_number(together, (struct sy_cli_bounds){1, 1024}, &n_together))
        return sy_cli_usage("generate", "--together needs a number, 1 to 1024");
    o->together = (int)n_together;
    o->max_tokens = (int64_t)max_tokens;
    o->temperature = temperature;
    o->top_k = (int64_t)top_k;
    o->top_p = top_p;
    o->seed = (uint64_t)seed;
    return 0;
}

/* Texts, into arrays of argc; an exit code. */
static int take_texts(int *argc, char **argv, struct sy_generate_options *o, const char **prompts,
                      const char **stops) {
    const char *text = NULL;
    o->prompts = prompts;
    o->stops = stops;
    for (; sy_cli_take(argc, argv, "prompt", &text); prompts[o->n_prompts++] = text)
        if (!text)
            return sy_cli_usage("generate", "--prompt needs a text");
    for (; sy_cli_take(argc, argv, "stop", &text); stops[o->n_stops++] = text)
        if (!text || !*text)
            return sy_cli_usage("generate", "--stop needs a text");
    if (sy_cli_take(argc, argv, "prompt-file", &o->prompt_file) && (!o->prompt_file || !*o->prompt_file))
        return sy_cli_usage("generate", "--prompt-file needs a file, or -");
    if (o->prompt_file && strcmp(o->prompt_file, "-") == 0)
        o->prompt_file = "/dev/stdin";
    o->json = sy_cli_take_flag(argc, argv, "json");
    return 0;
}

static sy_status run(struct sy_config *config, const char *model, const void *options,
                     const struct sy_io *io) {
    return sy_generate(config, model, options, io);
}

int sy_cli_generate(int argc, char **argv) {
    struct sy_generate_options o = {.size = sizeof o};
    const char **texts = calloc(2 * (size_t)argc, sizeof *texts);
    if (!texts)
        return sy_cli_usage("generate", "no memory for %d arguments", argc);
    int code = take_texts(&argc, argv, &o, texts, texts + argc);
    if (code == 0)
        code = take_numbers(&argc, argv, &o);
    if (code == 0)
        code = sy_cli_on_model(argc, argv,
                               &(struct sy_cli_on_model){"generate", "a checkpoint or run",
                                                         "stopping after this token", run, &o});
    free(texts);
    return code;
}
