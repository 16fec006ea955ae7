/* Trains a model on texts and says what that did to texts it was not trained on:
 *
 *     finetune CONFIG TEXTS [--section.key=value ...]      goes on where the run (run.dir) is
 *
 * Build: cc finetune.c $(pkg-config --cflags --libs switchyard)
 */
#include <stdio.h>

#include <switchyard.h>

static int failed(struct sy_run *run, struct sy_config *config) {
    fprintf(stderr, "finetune: %s\n", sy_error_message());
    sy_run_close(run);
    sy_config_destroy(config);
    return 1;
}

int main(int argc, char **argv) {
    struct sy_config *config = NULL;
    struct sy_run *run = NULL;
    struct sy_run_result r;
    struct sy_run_about about;
    double before, after;
    if (sy_config_create(&config) != SY_OK || sy_config_flags(config, &argc, argv) != SY_OK)
        return failed(run, config);
    if (argc != 3) {
        fprintf(stderr, "usage: finetune CONFIG TEXTS [--section.key=value ...]\n");
        return 2;
    }
    if (sy_config_load_file(config, argv[1]) != SY_OK ||
        sy_option_set(config, "training.dataset_path", argv[2]) != SY_OK ||
        sy_run_open(config, "finetune", NULL, &run) != SY_OK || sy_run_eval(run, &before) != SY_OK)
        return failed(run, config);
    for (sy_run_about(run, &about); about.step < about.steps; sy_run_about(run, &about))
        if (sy_run_step(run, &r) != SY_OK)
            return failed(run, config);
    if (sy_run_save(run) != SY_OK || sy_run_eval(run, &after) != SY_OK)
        return failed(run, config);
    printf("held-out loss %.4f before, %.4f after step %lld\nweights %s\n", before, after,
           (long long)about.step, about.weights_digest);
    if (sy_run_close(run) != SY_OK)
        return failed(NULL, config);
    sy_config_destroy(config);
    return 0;
}
