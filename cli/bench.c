/* switchyard bench [gemm|moe|layers] [--threads N] [--json]; bench ops [OP ...] [--json];
 * bench [gemm|attention|moe|ops [OP ...]] --device cuda[:N] [--json];
 * bench model [CONFIG ...] [--steps N] [--cpu] [--ids random] [--json] [--section.key=value ...]. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* A word that ends in .toml is a file, another a flavor with the batch of configs/dsv3_debug.toml.
 * Flags win over both. */
static int config_of(const char *word, int argc, char **argv, struct sy_config **out) {
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

static int model(int argc, char **argv, const struct sy_bench_options *options, const struct sy_io *io) {
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
        code = config_of(word, argc, flags, &c);
        if (code)
            break;
        code = sy_cli_finish_config(c, sy_bench_model(word, c, options, io));
        sy_config_destroy(c);
    }
    free(words);
    free(flags);
    return code;
}

static int ops(int argc, char **argv, int json, const struct sy_io *io) {
    int code = argc > 2 ? 0 : sy_cli_finish(sy_bench_ops(NULL, json, io));
    for (int i = 2; i < argc && code == 0; i++)
        code = sy_cli_finish(sy_bench_ops(argv[i], json, io));
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

int sy_cli_bench(int argc, char **argv) {
    const char *steps = "7", *device = "cpu", *trace = NULL;
    int64_t n;
    int json = sy_cli_take_flag(&argc, argv, "json"), cpu = sy_cli_take_flag(&argc, argv, "cpu");
    int has_steps = sy_cli_take(&argc, argv, "steps", &steps);
    const char *ids = NULL, *threads = NULL;
    int has_threads = sy_cli_take(&argc, argv, "threads", &threads);
    int has_ids = sy_cli_take(&argc, argv, "ids", &ids);
    int has_device = sy_cli_take(&argc, argv, "device", &device);
    int has_trace = sy_cli_take(&argc, argv, "trace", &trace);
    struct sy_io io = sy_cli_io();
    struct sy_bench_options options = {
        .size = sizeof options, .json = json, .cpu = cpu, .random_ids = ids && !strcmp(ids, "random")};
    if (!sy_cli_number(steps, (struct sy_cli_bounds){INT64_MIN, INT64_MAX}, &options.steps))
        return sy_cli_usage("bench", "--steps%s%s: needs a number", steps ? " " : "", steps ? steps : "");
    if (has_threads) {
        if (!sy_cli_number(threads, (struct sy_cli_bounds){0, 1024}, &n))
            return sy_cli_usage("bench", "--threads%s%s: needs a number, 0 to 1024", threads ? " " : "",
                                threads ? threads : "");
        options.threads = (int)n;
        if (argc > 1 && strcmp(argv[1], "gemm") && strcmp(argv[1], "moe") && strcmp(argv[1], "layers"))
            return sy_cli_usage("bench", "--threads is for bench gemm, moe and layers");
    }
    if (has_ids && (!ids || (strcmp(ids, "random") && strcmp(ids, "text"))))
        return sy_cli_usage("bench", "--ids %s: must be random or text", ids ? ids : "");
    if (has_trace && (!trace || !trace[0]))
        return sy_cli_usage("bench", "--trace needs a file");
    options.trace = trace;
    if (!device)
        return sy_cli_usage("bench", "--device needs a name: cpu, cuda or cuda:N");
    if (has_device && argc > 1 && (!strcmp(argv[1], "model") || !strcmp(argv[1], "layers")))
        return sy_cli_usage("bench",
                            "--device is for bench ops, gemm, attention and moe; of a training step: "
                            "bench model --run.device=%s",
                            device);
    if (argc > 1 && strcmp(argv[1], "model") == 0)
        return model(argc, argv, &options, &io);
    if (has_steps || cpu || has_ids || has_trace)
        return sy_cli_usage("bench", "--%s is for bench model",
                            cpu         ? "cpu"
                            : has_ids   ? "ids"
                            : has_trace ? "trace"
                                        : "steps");
    if (strcmp(device, "cpu") != 0)
        return gpu(argc, argv, device, json, &io);
    if (argc > 1 && strcmp(argv[1], "ops") == 0)
        return ops(argc, argv, json, &io);
    if (argc > 2)
        return sy_cli_not_understood("bench", argv[2]);
    return sy_cli_finish(sy_bench(argc == 2 ? argv[1] : "gemm", &options, &io));
}
