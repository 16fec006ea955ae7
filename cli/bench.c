/* switchyard bench [gemm|moe|layers] [--threads N] [--class NAME] [--tier NAME] [--json];
 * bench ops [OP ...] [--class NAME] [--tier NAME] [--json];
 * bench [gemm|attention|moe|ops [OP ...]] --device cuda[:N] [--json];
 * bench model [CONFIG ...] [--steps N] [--cpu] [--ids random] [--json] [--section.key=value ...];
 * bench tune [CONFIG ...] [--tiles FILE] [--section.key=value ...];
 * bench scaling [CONFIG ...] [--threads LIST] [--steps N] [--cpu] [--json] [--section.key=value ...]. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* A word that ends in .toml is a file, another a flavor with the batch of configs/dsv3_debug.toml.
 * Flags win over both, and over `device`, which wins over a file; NULL: the config's. */
static int config_of(const char *word, const char *device, int argc, char **argv, struct sy_config **out) {
    size_t n = strlen(word);
    struct sy_config *c;
    sy_status status = sy_config_create(&c);
    if (status != SY_OK)
        return sy_cli_finish(status);
    if (n > 5 && strcmp(word + n - 5, ".toml") == 0) {
        status = sy_config_load_file(c, word);
    } else {
        const char *const keys[][2] = {{"model.flavor", word},
                                       {"training.seq_len", "512"},
                                       {"training.global_batch_size", "8"},
                                       {"run.threads", "2"}};
        for (size_t i = 0; i < sizeof keys / sizeof *keys && status == SY_OK; i++)
            status = sy_option_set(c, keys[i][0], keys[i][1]);
    }
    if (status == SY_OK && device)
        status = sy_option_set(c, "run.device", device);
    if (status == SY_OK)
        status = sy_config_flags(c, &argc, argv);
    if (status == SY_OK) {
        *out = c;
        return 0;
    }
    int code = sy_cli_finish_config(c, status);
    sy_config_destroy(c);
    return status == SY_ERR_IO ? 2 : code; /* a config that is not there is a wrong call */
}

/* The words of argv that are no flags, through a config that is thrown away. */
static int words_of(int *argc, char **argv) {
    struct sy_config *c = NULL;
    sy_status status = sy_config_create(&c);
    if (status == SY_OK)
        status = sy_config_flags(c, argc, argv);
    int code = sy_cli_finish_config(c, status);
    sy_config_destroy(c);
    return code;
}

static char **copy_of(int argc, char **argv) {
    char **copy = malloc(((size_t)argc + 1) * sizeof *copy);
    if (copy)
        memcpy(copy, argv, ((size_t)argc + 1) * sizeof *copy);
    else
        fprintf(stderr, "switchyard bench: no memory for %d arguments\n", argc);
    return copy;
}

/* Of a config: one of the three. */
struct steps {
    const struct sy_bench_options *model;
    const struct sy_bench_scaling_options *scaling;
    const struct sy_bench_tune_options *tune;
};

static sy_status bench_of(const char *name, struct sy_config *c, const struct steps *o,
                          const struct sy_io *io) {
    return o->scaling ? sy_bench_scaling(name, c, o->scaling, io)
           : o->tune  ? sy_bench_tune(name, c, o->tune, io)
                      : sy_bench_model(name, c, o->model, io);
}

/* bench model, scaling, tune. */
static int models(int argc, char **argv, const struct steps *o, const struct sy_io *io) {
    static const char *const both[] = {"dsv3-debug", "gqa-debug"};
    int n_words = argc, code = 1, n;
    char **words = copy_of(argc, argv), **flags = copy_of(argc, argv);
    if (words && flags)
        code = words_of(&n_words, words);
    n = n_words > 2 ? n_words - 2 : 2;
    for (int i = 0; i < n && code == 0; i++) {
        const char *word = n_words > 2 ? words[2 + i] : both[i];
        struct sy_config *c = NULL;
        memcpy(flags, argv, ((size_t)argc + 1) * sizeof *flags);
        code = config_of(word, o->tune ? "cuda" : NULL, argc, flags, &c);
        if (code)
            break;
        code = sy_cli_finish_config(c, bench_of(word, c, o, io));
        sy_config_destroy(c);
    }
    free(words);
    free(flags);
    return code;
}

static int ops(int argc, char **argv, const struct sy_bench_options *o, const struct sy_io *io) {
    int code = argc > 2 ? 0 : sy_cli_finish(sy_bench_ops(NULL, o, io));
    for (int i = 2; i < argc && code == 0; i++)
        code = sy_cli_finish(sy_bench_ops(argv[i], o, io));
    return code;
}

/* gemm, attention, ops [OP ...] of a GPU. */
static int gpu(int argc, char **argv, const char *device, int json, const struct sy_io *io) {
    struct sy_bench_gpu_options o = {
        .size = sizeof o, .what = argc > 1 ? argv[1] : "gemm", .device = device, .json = json};
    if (argc > 2 && strcmp(o.what, "ops") != 0)
        return sy_cli_not_understood("bench", argv[2]);
    if (argc > 2) {
        o.ops = (const char *const *)argv + 2;
        o.n_ops = argc - 2;
    }
    return sy_cli_finish(sy_bench_gpu(&o, io));
}

/* What stands before the choice of a benchmark. */
struct words {
    int json, cpu, has_steps, has_threads, has_ids, has_device, has_trace, has_class, has_tier, has_tiles;
    const char *steps, *threads, *ids, *device, *trace, *numeric_class, *tier, *tiles;
};

static int is_one_of(const char *word, const char *list) {
    size_t n = strlen(word);
    const char *at = strstr(list, word);
    return at && (at == list || at[-1] == ' ') && (at[n] == ' ' || at[n] == 0);
}

/* 0, or that of a usage error. what: the benchmark. */
static int check_words(const struct words *w, const char *what) {
    int timed = is_one_of(what, "model scaling"), of_config = timed || !strcmp(what, "tune");
    if (w->has_threads && !is_one_of(what, "gemm moe layers scaling"))
        return sy_cli_usage("bench", "--threads is for bench gemm, moe, layers and scaling");
    if (w->has_ids && (!w->ids || !is_one_of(w->ids, "random text")))
        return sy_cli_usage("bench", "--ids %s: must be random or text", w->ids ? w->ids : "");
    if (w->has_trace && (!w->trace || !w->trace[0]))
        return sy_cli_usage("bench", "--trace needs a file");
    if (!w->device)
        return sy_cli_usage("bench", "--device needs a name: cpu, cuda or cuda:N");
    if (w->has_device && (of_config || !strcmp(what, "layers")))
        return sy_cli_usage("bench",
                            "--device is for bench ops, gemm, attention and moe; of a training step: "
                            "bench %s --run.device=%s",
                            !strcmp(what, "tune") ? what : "model", w->device);
    if ((w->has_class || w->has_tier) && (!is_one_of(what, "gemm moe layers ops") || w->has_device))
        return sy_cli_usage("bench", "--%s is for bench gemm, moe, layers and ops of a CPU",
                            w->has_class ? "class" : "tier");
    if ((w->has_class && !w->numeric_class) || (w->has_tier && !w->tier))
        return sy_cli_usage("bench", "--%s needs a name; `switchyard info` lists them",
                            w->has_class && !w->numeric_class ? "class" : "tier");
    if (w->has_tiles && (!w->tiles || !w->tiles[0] || strcmp(what, "tune") != 0))
        return sy_cli_usage("bench",
                            w->tiles && w->tiles[0] ? "--tiles is for bench tune" : "--tiles needs a file");
    if (w->json && !strcmp(what, "tune"))
        return sy_cli_usage("bench", "--json is not for bench tune: --tiles FILE has rows to read");
    if ((w->has_steps || w->cpu) && !timed)
        return sy_cli_usage("bench", "--%s is for bench model and scaling", w->cpu ? "cpu" : "steps");
    if ((w->has_ids || w->has_trace) && strcmp(what, "model") != 0)
        return sy_cli_usage("bench", "--%s is for bench model", w->has_ids ? "ids" : "trace");
    return 0;
}

/* A number, or for a scaling some with commas between; their count, 0: a usage error was said. */
enum { MOST_NUMBERS = 16 };
static int threads_of(const char *text, int most, int out[MOST_NUMBERS]) {
    char word[32];
    int n = 0;
    int64_t value;
    for (const char *at = text; at && n < most; at++) {
        size_t length = strcspn(at, ",");
        snprintf(word, sizeof word, "%.*s", length < sizeof word ? (int)length : 0, at);
        if (!sy_cli_number(word, (struct sy_cli_bounds){most > 1, 1024}, &value))
            break;
        out[n++] = (int)value;
        at += length;
        if (*at == 0)
            return n;
    }
    sy_cli_usage("bench", "--threads%s%s: needs %s", text ? " " : "", text ? text : "",
                 most > 1 ? "numbers, 1 to 1024, with commas between, at most 16" : "a number, 0 to 1024");
    return 0;
}

int sy_cli_bench(int argc, char **argv) {
    struct words w = {.device = "cpu"};
    w.json = sy_cli_take_flag(&argc, argv, "json");
    w.cpu = sy_cli_take_flag(&argc, argv, "cpu");
    w.has_steps = sy_cli_take(&argc, argv, "steps", &w.steps);
    w.has_threads = sy_cli_take(&argc, argv, "threads", &w.threads);
    w.has_ids = sy_cli_take(&argc, argv, "ids", &w.ids);
    w.has_device = sy_cli_take(&argc, argv, "device", &w.device);
    w.has_trace = sy_cli_take(&argc, argv, "trace", &w.trace);
    w.has_class = sy_cli_take(&argc, argv, "class", &w.numeric_class);
    w.has_tier = sy_cli_take(&argc, argv, "tier", &w.tier);
    w.has_tiles = sy_cli_take(&argc, argv, "tiles", &w.tiles);
    const char *what = argc > 1 ? argv[1] : "gemm";
    int scaling = !strcmp(what, "scaling"), numbers[MOST_NUMBERS] = {0}, n = 0;
    struct sy_io io = sy_cli_io();
    struct sy_bench_options options = {
        .size = sizeof options, .json = w.json, .cpu = w.cpu, .trace = w.trace, .steps = 7};
    if (w.has_steps && !sy_cli_number(w.steps, (struct sy_cli_bounds){INT64_MIN, INT64_MAX}, &options.steps))
        return sy_cli_usage("bench", "--steps%s%s: needs a number", w.steps ? " " : "",
                            w.steps ? w.steps : "");
    if (w.has_threads && !(n = threads_of(w.threads, scaling ? MOST_NUMBERS : 1, numbers)))
        return 2;
    int code = check_words(&w, what);
    if (code)
        return code;
    options.random_ids = w.ids && !strcmp(w.ids, "random");
    options.threads = numbers[0];
    options.numeric_class = w.numeric_class;
    options.tier = w.tier;
    struct sy_bench_scaling_options of_scaling = {.size = sizeof of_scaling,
                                                  .steps = options.steps,
                                                  .threads = numbers,
                                                  .n_threads = n,
                                                  .cpu = w.cpu,
                                                  .json = w.json};
    struct sy_bench_tune_options of_tune = {.size = sizeof of_tune, .tiles = w.tiles};
    int tune = !strcmp(what, "tune");
    if (scaling || tune || !strcmp(what, "model"))
        return models(argc, argv,
                      &(struct steps){&options, scaling ? &of_scaling : NULL, tune ? &of_tune : NULL}, &io);
    if (strcmp(w.device, "cpu") != 0)
        return gpu(argc, argv, w.device, w.json, &io);
    if (strcmp(what, "ops") == 0)
        return ops(argc, argv, &options, &io);
    if (argc > 2)
        return sy_cli_not_understood("bench", argv[2]);
    return sy_cli_finish(sy_bench(what, &options, &io));
}
