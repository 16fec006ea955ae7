/* What is asked of a folder with a model: see model_folder.h. */
#include "ckpt/model_folder.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/json.h"
#include "formats/safetensors.h"

/* --- what is there ---------------------------------------------------------------------------- */

static int has(const char *folder, const char *name) {
    char path[2 * SY_CKPT_PATH_BYTES];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return stat(path, &st) == 0;
}

static int is_run(const char *path) {
    return has(path, "checkpoints") || has(path, "metrics.jsonl") || has(path, "config.toml");
}

/* Of a run: where it lies says so, or the moments in it. */
static int is_of_a_run(const char *path) {
    const char *step = strstr(path, "checkpoints/step-");
    return has(path, "optimizer") || (step && !strchr(step + strlen("checkpoints/"), '/'));
}

sy_status sy_model_folder_check(const char *path) {
    struct stat st;
    if (strlen(path) >= SY_CKPT_PATH_BYTES || stat(path, &st) != 0)
        SY_FAIL(SY_ERR_IO, "%.1000s: there is no such file or folder", path);
    if (!S_ISDIR(st.st_mode))
        SY_FAIL(SY_ERR_USAGE,
                "%s: is no folder: a run, a checkpoint or a Hugging Face model folder is needed", path);
    if (sy_ckpt_any(path) || has(path, "switchyard.json"))
        return SY_OK;
    if (!has(path, "config.json") && is_run(path))
        SY_FAIL(SY_ERR_RUNTIME, "%s: is a run that has saved no checkpoint yet", path);
    if (is_of_a_run(path))
        SY_FAIL(SY_ERR_DATA, "%s: switchyard.json is missing: this checkpoint of a run is damaged", path);
    if (!has(path, "config.json"))
        SY_FAIL(SY_ERR_USAGE,
                "%s: has neither checkpoints nor a config.json: it is no run and no model folder", path);
    return SY_OK;
}

sy_status sy_model_folder_open(const char *path, const struct sy_log *log, struct sy_ckpt **out) {
    SY_TRY(sy_model_folder_check(path));
    if (sy_ckpt_any(path))
        return sy_ckpt_find_latest(path, log, NULL, out);
    return sy_ckpt_open(path, 0, out);
}

/* --- config and tokenizer --------------------------------------------------------------------- */

enum { MOST_JSON = 1 << 22 };

/* A JSON file of a folder; NULL if it is not there or no JSON, which others have to say. */
static json_t *read_json(const char *folder, const char *name) {
    char path[2 * SY_CKPT_PATH_BYTES];
    json_t *root = NULL;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "re");
    char *text = f ? malloc(MOST_JSON) : NULL;
    size_t n = text ? fread(text, 1, MOST_JSON, f) : 0;
    if (n > 0 && n < MOST_JSON && sy_json_parse(path, text, n, 0, &root) != SY_OK)
        root = NULL;
    free(text);
    if (f)
        fclose(f);
    return root;
}

static int is_ours(const char *folder) {
    json_t *root = read_json(folder, "config.json");
    int ours = json_object_get(root, "switchyard") != NULL;
    json_decref(root);
    return ours;
}

static sy_status file_is_f32(const char *folder, const char *name, int *f32) {
    char path[2 * SY_CKPT_PATH_BYTES];
    struct sy_safetensors *file;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    SY_TRY(sy_safetensors_open(path, &file));
    for (int64_t i = 0; i < sy_safetensors_count(file); i++)
        *f32 &= sy_safetensors_at(file, i)->dtype == SY_SAFETENSORS_F32;
    sy_safetensors_close(file);
    return SY_OK;
}

/* Whether all weights of a folder are fp32; one that cannot be read is told when it is. */
static int weights_are_f32(const char *folder) {
    int f32 = 1, n = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && f32 && (e = readdir(dir));) {
        const char *dot = strrchr(e->d_name, '.');
        if (!dot || strcmp(dot, ".safetensors") != 0)
            continue;
        n++;
        if (file_is_f32(folder, e->d_name, &f32) != SY_OK)
            f32 = 0;
    }
    if (dir)
        closedir(dir);
    return n > 0 && f32;
}

sy_status sy_model_folder_config(const struct sy_ckpt *ckpt, struct sy_config *config) {
    const struct sy_ckpt_info *info = sy_ckpt_info(ckpt);
    SY_TRY(sy_ckpt_config(ckpt, 1, config));
    if (!info->has_manifest && !is_ours(info->path) && weights_are_f32(info->path))
        SY_TRY(sy_config_set(config, SY_LAYER_CHECKPOINT, info->path, "numerics.class", "fp32"));
    return SY_OK;
}

sy_status sy_model_folder_tokenizer(const struct sy_ckpt *ckpt, struct sy_config *config) {
    static const char *const files[] = {"tokenizer.model", "tekken.json", "spiece.model",
                                        "vocab.json",      "merges.txt",  "tokenizer_config.json"};
    const char *folder = sy_ckpt_info(ckpt)->path;
    if (sy_config_layer_of(config, "tokenizer.path") == SY_LAYER_FLAG)
        return SY_OK;
    json_t *root = read_json(folder, "tokenizer_config.json");
    const char *class = json_string_value(json_object_get(root, "tokenizer_class"));
    int bytes = (class && strcmp(class, "switchyard-byte") == 0) || json_object_get(root, "byte_ids");
    json_decref(root);
    if (!bytes && has(folder, "tokenizer.json"))
        return sy_config_set(config, SY_LAYER_CHECKPOINT, folder, "tokenizer.path", folder);
    for (size_t i = 0; i < sizeof files / sizeof *files && !bytes; i++)
        if (has(folder, files[i]))
            SY_FAIL(
                SY_ERR_UNAVAILABLE,
                "%s/%s: the model has a tokenizer of its own, and only a tokenizer.json is read here: what "
                "it would be fed and what it says are not its tokens; tokenizer.path says another",
                folder, files[i]);
    return sy_config_set(config, SY_LAYER_CHECKPOINT, folder, "tokenizer.path", "byte");
}
