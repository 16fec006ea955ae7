/* switchyard diff, configurations: which values differ. See diff.h.
 *
 * A run has them in config.toml, a checkpoint in config.json and its manifest, which has none of those
 * that change no bit.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "ckpt/checkpoint.h"
#include "commands/diff.h"
#include "train/io.h"

static sy_status read_checkpoint(const char *path, struct sy_config *c) {
    struct sy_ckpt *ckpt;
    SY_TRY(sy_ckpt_open(path, 0, &ckpt));
    const struct sy_ckpt_info *info = sy_ckpt_info(ckpt);
    sy_status status = sy_ckpt_config(ckpt, 1, c);
    if (status == SY_OK && info->config)
        status = sy_config_load_text(c, info->path, info->config, strlen(info->config));
    sy_ckpt_close(ckpt);
    return status;
}

static sy_status read_config(const char *path, struct sy_config *c) {
    char file[SY_DIFF_PATH + 32];
    struct stat st;
    snprintf(file, sizeof file, "%s/metrics.jsonl", path);
    int is_run = stat(file, &st) == 0;
    snprintf(file, sizeof file, "%s/config.toml", path);
    if (is_run || stat(file, &st) == 0)
        return sy_config_load_file(c, file);
    return read_checkpoint(path, c);
}

/* Rows of the options that differ and whose effect is, or is not, on bits; run.dir is what makes them
 * two. */
static sy_status print_rows(const struct sy_io *io, struct sy_config *a, struct sy_config *b, int on_bits,
                            int *n) {
    enum sy_config_effect effect;
    const char *key, *x, *y;
    for (int i = 0; (key = sy_config_key(i, &effect)); i++) {
        if ((effect != SY_EFFECT_LAYOUT) != on_bits || strcmp(key, "run.dir") == 0)
            continue;
        SY_TRY(sy_config_get(a, key, &x));
        SY_TRY(sy_config_get(b, key, &y));
        if (strcmp(x, y) == 0)
            continue;
        if ((*n)++ == 0)
            sy_io_printf(io, "values of the configurations that differ:\n");
        sy_io_printf(io, "  %-32s %.300s | %.300s%s\n", key, x, y, on_bits ? "" : "   (changes no bit)");
    }
    return SY_OK;
}

static sy_status compare(const struct sy_io *io, const char *const path[2], struct sy_config *c[2]) {
    int n = 0;
    for (int i = 0; i < 2; i++) {
        sy_status status = read_config(path[i], c[i]);
        if (status == SY_ERR_MEMORY)
            return status;
        if (status != SY_OK) {
            sy_io_printf(io, "configurations are not compared: %s\n", sy_error_message());
            return SY_OK;
        }
    }
    SY_TRY(print_rows(io, c[0], c[1], 1, &n));
    SY_TRY(print_rows(io, c[0], c[1], 0, &n));
    if (n == 0)
        sy_io_printf(io, "configurations are equal\n");
    return SY_OK;
}

sy_status sy_diff_config(const struct sy_io *io, const char *a, const char *b) {
    const char *const path[2] = {a, b};
    struct sy_config *c[2] = {NULL, NULL};
    sy_status status = sy_config_create(&c[0]);
    if (status == SY_OK)
        status = sy_config_create(&c[1]);
    if (status == SY_OK)
        status = compare(io, path, c);
    sy_config_destroy(c[0]);
    sy_config_destroy(c[1]);
    return status;
}
