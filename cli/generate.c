/* switchyard generate MODEL --prompt TEXT: samples from a checkpoint. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* Takes --name X; 0, or that of a usage error. A number too small for a double is the nearest. */
static int take_real(int *argc, char **argv, const char *name, double *out) {
    const char *text = NULL;
    char *end = NULL;
    if (!sy_cli_take(argc, argv, name, &text))
        return 0;
    if (text)
        *out = strtod(text, &end);
    if (!text)
        return sy_cli_usage("generate", "--%s needs a number", name);
    return end == text || *end ? sy_cli_usage("generate", "--%s %s: must be a number", name, text) : 0;
}

/* A whole number from 0, also as 1e3. */
static int take_whole(int *argc, char **argv, const char *name, int64_t most, int64_t *out) {
    const char *text = NULL;
    char *end = NULL;
    if (!sy_cli_take(argc, argv, name, &text))
        return 0;
    double v = text ? strtod(text, &end) : -1;
    if (!text || end == text || *end || !(v >= 0 && v <= (double)most) || v != (double)(int64_t)v)
        return sy_cli_no_number("generate", name, text, (struct sy_cli_bounds){0, most});
    *out = (int64_t)v;
    return 0;
}

/* The numbers, all checked; an exit code. */
static int take_numbers(int *argc, char **argv, struct sy_generate_options *o) {
    const struct sy_cli_bounds counts = {1, 1 << 20};
    const char *n = NULL;
    int64_t together = 8, seed = 42;
    o->max_tokens = 200;
    o->temperature = 0.8;
    o->top_p = 1;
    o->samples = 1;
    if (take_whole(argc, argv, "max-tokens", INT32_MAX, &o->max_tokens) ||
        take_real(argc, argv, "temperature", &o->temperature) ||
        take_whole(argc, argv, "top-k", INT32_MAX, &o->top_k) || take_real(argc, argv, "top-p", &o->top_p) ||
        take_whole(argc, argv, "seed", ((int64_t)1 << 53) - 1, &seed))
        return 2;
    int words = *argc;
    if (sy_cli_take_number(argc, argv, "samples", "generate", counts, &o->samples))
        return 2;
    int has_samples = *argc < words;
    if (sy_cli_take_short(argc, argv, 'n', &n) && has_samples)
        return sy_cli_usage("generate", "-n is --samples, which is there too: give one of them");
    if (*argc < words && !has_samples && !sy_cli_number(n, counts, &o->samples))
        return sy_cli_no_number("generate", "samples (-n)", n, counts);
    if (sy_cli_take_number(argc, argv, "together", "generate", (struct sy_cli_bounds){1, 1024}, &together))
        return 2;
    o->together = (int)together;
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
