/* switchyard train CONFIG: the main job. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* One word of a shell's command line. */
static void print_quoted(const char *word) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=./,:+@%";
    if (*word && word[strspn(word, plain)] == 0) {
        fprintf(stderr, " %s", word);
        return;
    }
    fprintf(stderr, " '");
    for (; *word; word++)
        fprintf(stderr, *word == '\'' ? "'\\''" : "%c", *word);
    fprintf(stderr, "'");
}

static int is_truth(const char *word) {
    return word && (strcmp(word, "true") == 0 || strcmp(word, "false") == 0);
}

/* The command that goes on with this run: the same arguments; --run.fresh would refuse. args ends with
 * NULL. */
static void print_continue(char **args) {
    fprintf(stderr, "to go on:");
    print_quoted(sy_cli_program);
    fprintf(stderr, " train");
    for (int i = 1; args[i]; i++) {
        if (strncmp(args[i], "--run.fresh", 11) != 0)
            print_quoted(args[i]);
        else if (args[i][11] == 0 && is_truth(args[i + 1]))
            i++;
    }
    fprintf(stderr, "\n");
}

/* args NULL: nothing was saved. */
static void print_end(sy_status status, const struct sy_train_summary *s, char **args) {
    if (status == SY_OK) {
        if (isfinite(s->eval_loss))
            printf("held-out loss %.4f nats per token; training text as unigrams %.4f nats per token\n",
                   s->eval_loss, s->unigram_entropy);
        printf("run %s\ndigest of step %lld: %s\n", s->run_dir, (long long)s->step, s->weights_digest);
    } else if (status == SY_STOPPED) {
        fprintf(stderr, "stopped after step %lld\n", (long long)s->step);
        if (args)
            print_continue(args);
        else
            fprintf(stderr, "nothing was saved: checkpoint.enable is false\n");
    }
}

static int train(int argc, char **argv) {
    char **args = calloc((size_t)argc + 1, sizeof *args);
    if (!args)
        return 1;
    memcpy(args, argv, (size_t)argc * sizeof *args);
    struct sy_config *config = NULL;
    int code = sy_cli_config("train", argc, argv, &config);
    if (code) {
        free(args);
        return code;
    }
    const char *text, *path = argv[1];
    char name[256];
    sy_cli_rank = sy_process_rank(config);
    sy_cli_config_name(path, name);
    int saving = sy_option_get(config, "checkpoint.enable", &text) != SY_OK || strcmp(text, "true") == 0;
    char save_signal[16] = "";
    if (sy_option_get(config, "run.save_signal", &text) == SY_OK)
        sscanf(text, "\"%15[a-z0-9]", save_signal);
    struct sy_io io = sy_cli_io();
    sy_cli_catch_signals(&io, saving ? "saving after this step" : "stopping after this step without saving",
                         save_signal);
    struct sy_train_summary s;
    sy_status status = sy_train(config, name, &io, &s);
    code = sy_cli_finish_config(config, status);
    if (sy_cli_rank == 0)
        print_end(status, &s, saving ? args : NULL);
    sy_config_destroy(config);
    free(args);
    return code;
}

int sy_cli_train(int argc, char **argv) { return sy_cli_as_rank(train, argc, argv); }
