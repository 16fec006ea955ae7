/* What a shared model folder has beside its tensors: see export_files.h. */
#include "ckpt/export_files.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "ckpt/hf_config.h"
#include "ckpt/internal.h"

/* Other programs' files that go with a model: tokenizers, templates of a chat, how to sample. */
static const char *const companions[] = {"tokenizer.json",
                                         "tokenizer_config.json",
                                         "special_tokens_map.json",
                                         "added_tokens.json",
                                         "vocab.json",
                                         "merges.txt",
                                         "tokenizer.model",
                                         "chat_template.jinja",
                                         "chat_template.json",
                                         "generation_config.json"};

static int has(const char *folder, const char *name) {
    char path[SY_CKPT_PATH_BYTES];
    struct stat st;
    return sy_ckpt_join(path, folder, name) == SY_OK && stat(path, &st) == 0;
}

static sy_status copy_companions(const char *from, const char *to) {
    char path[SY_CKPT_PATH_BYTES];
    for (size_t i = 0; i < sizeof companions / sizeof *companions; i++) {
        char *text = NULL;
        size_t bytes = 0;
        if (!has(from, companions[i]))
            continue;
        SY_TRY(sy_ckpt_join(path, from, companions[i]));
        SY_TRY(sy_ckpt_read_file(path, SY_CKPT_MAX_JSON, &text, &bytes));
        sy_status status = sy_ckpt_write_file(to, companions[i], text, bytes, NULL);
        free(text);
        SY_TRY(status);
    }
    return SY_OK;
}

/* --- config.json ---------------------------------------------------------------------------------------- */

static sy_status read_json(const char *folder, const char *name, json_t **out) {
    char path[SY_CKPT_PATH_BYTES], *text = NULL;
    size_t bytes = 0;
    SY_TRY(sy_ckpt_join(path, folder, name));
    SY_TRY(sy_ckpt_read_file(path, SY_CKPT_MAX_JSON, &text, &bytes));
    sy_status status = sy_json_parse(path, text, bytes, 0, out);
    free(text);
    return status;
}

static const char *word_of(enum sy_safetensors_dtype dtype) {
    return dtype == SY_SAFETENSORS_BF16 ? "bfloat16" : dtype == SY_SAFETENSORS_F16 ? "float16" : "float32";
}

/* What the model's config says beside its shape stays as it is there. */
static sy_status make_config(const struct sy_export_about *a, json_t **out) {
    static const char *const kept[] = {"max_position_embeddings", "bos_token_id", "eos_token_id",
                                       "pad_token_id"};
    json_t *config = NULL, *was = NULL;
    SY_TRY(read_json(sy_ckpt_info(a->ckpt)->path, "config.json", &was));
    sy_status status = sy_hf_config_make(a->config, NULL, &config);
    int failed = 0;
    for (size_t i = 0; i < sizeof kept / sizeof *kept && status == SY_OK; i++) {
        json_t *value = json_object_get(was, kept[i]);
        failed |= value && json_object_set(config, kept[i], value) != 0;
        if (!value && strstr(kept[i], "token_id")) /* of bytes: this folder does not say */
            failed |= !sy_ckpt_info(a->ckpt)->has_manifest && json_object_del(config, kept[i]) != 0;
    }
    failed |=
        status == SY_OK && json_object_set_new(config, "torch_dtype", json_string(word_of(a->dtype))) != 0;
    json_decref(was);
    if (status != SY_OK || failed) {
        json_decref(config);
        return status != SY_OK ? status : sy_fail(SY_ERR_MEMORY, "no memory for config.json");
    }
    *out = config;
    return SY_OK;
}

static sy_status write_generation(const char *folder, const json_t *config) {
    static const char *const ids[] = {"bos_token_id", "eos_token_id", "pad_token_id"};
    json_t *root = json_pack("{s:b}", "_from_model_config", 1);
    int failed = !root;
    for (int i = 0; i < 3; i++) {
        json_t *value = json_object_get(config, ids[i]);
        if (value && !json_is_null(value))
            failed |= json_object_set(root, ids[i], value) != 0;
    }
    sy_status status = failed ? sy_fail(SY_ERR_MEMORY, "no memory for generation_config.json")
                              : sy_ckpt_write_json(folder, "generation_config.json", root, NULL);
    json_decref(root);
    return status;
}

/* --- README --------------------------------------------------------------------------------------------- */

static void line(struct sy_text *t, const char *fmt, ...) SY_PRINTF(2, 3);
static void line(struct sy_text *t, const char *fmt, ...) {
    char s[600];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(s, sizeof s, fmt, args);
    va_end(args);
    sy_text_add(t, s, n < (int)sizeof s ? (size_t)n : sizeof s - 1);
    sy_text_add(t, "\n", 1);
}

static sy_status write_readme(const struct sy_export_about *a, const char *folder) {
    const struct sy_ckpt_info *info = sy_ckpt_info(a->ckpt);
    const char *class = sy_hf_class_name(a->config), *why = sy_hf_class_lack(a->config);
    struct sy_text t = {0};
    line(&t, "---%s\ntags:\n- mixture-of-experts\n- switchyard\n---",
         class ? "\nlibrary_name: transformers" : "");
    line(&t, "# %s\n", a->name);
    line(&t, "A mixture-of-experts language model, written by `switchyard convert` %s.\n", SY_VERSION);
    line(&t, "| | |\n|---|---|");
    if (class)
        line(&t, "| class of transformers | %s |", class);
    else
        line(&t, "| class of transformers | none (%s): switchyard reads it |", why);
    line(&t, "| parameters | %" PRId64 ", %" PRId64 " of them for a token |", a->params->n_parameters,
         a->params->n_active);
    line(&t, "| weights | %s, %" PRId64 " bytes in %d files |", word_of(a->dtype), a->exported->bytes,
         a->exported->n_files);
    line(&t, "| digest of these weights, as fp32 | `%s` |", a->exported->to);
    line(&t, "| digest of those that they were made from | `%s` |", a->exported->from);
    if (info->has_manifest)
        line(&t, "| training | step %" PRId64 ", recipe `%s` |", info->step, info->recipe_id);
    line(&t, "\nTo be filled in: what it was trained on, what it is for, its licence.");
    sy_status status = t.failed ? sy_fail(SY_ERR_MEMORY, "no memory for README.md")
                                : sy_ckpt_write_file(folder, "README.md", t.s, t.n, NULL);
    free(t.s);
    return status;
}

sy_status sy_export_files(const struct sy_export_about *a, const char *folder) {
    json_t *config = NULL;
    SY_TRY(copy_companions(sy_ckpt_info(a->ckpt)->path, folder));
    SY_TRY(make_config(a, &config));
    sy_status status = sy_ckpt_write_json(folder, "config.json", config, NULL);
    if (status == SY_OK && !has(folder, "generation_config.json"))
        status = write_generation(folder, config);
    json_decref(config);
    return status == SY_OK ? write_readme(a, folder) : status;
}
