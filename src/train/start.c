/* What a new run begins with: see start.h. */
#include "train/start.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ckpt/hf_config.h"
#include "ckpt/model_folder.h"
#include "train/classes.h"
#include "train/feed.h"
#include "train/restore.h"

static const char path_key[] = "checkpoint.initial_load_path";
static const char model_only_key[] = "checkpoint.initial_load_model_only";

/* What the folder says its model is, finished. */
static sy_status model_of(const struct sy_ckpt *ckpt, struct sy_config **out) {
    struct sy_config *model = NULL;
    SY_TRY(sy_config_create(&model));
    sy_status status = sy_ckpt_config(ckpt, 0, model);
    if (status == SY_OK)
        status = sy_config_finish(model, false);
    if (status != SY_OK) {
        sy_config_destroy(model);
        return status == SY_ERR_USAGE
                   ? sy_fail_context(SY_ERR_DATA, "%s: the model there", sy_ckpt_info(ckpt)->path)
                   : status;
    }
    *out = model;
    return SY_OK;
}

/* --- tokenizer ---------------------------------------------------------------------------------------- */

/* The hash of the tokenizer that a path is, with the config's BOS and EOS. */
static sy_status hash_of(const struct sy_config_tokenizer *ends, const char *path, char out[64]) {
    struct sy_tokenizer *t = NULL;
    SY_TRY(sy_tokenizer_create(
        &(struct sy_tokenizer_options){.path = path, .bos = ends->bos_token, .eos = ends->eos_token}, &t));
    snprintf(out, 64, "%s", sy_tokenizer_hash(t));
    sy_tokenizer_destroy(t);
    return SY_OK;
}

/* A checkpoint may be removed by the run that wrote it: where its tokenizer was read is taken, if that is
 * still there and the same. */
static sy_status take_source(const struct sy_ckpt *ckpt, struct sy_config *config) {
    static const char *const keys[] = {"tokenizer.path", "tokenizer.bos_token", "tokenizer.eos_token"};
    const struct sy_ckpt_info *info = sy_ckpt_info(ckpt);
    struct sy_config *was = NULL;
    char there[64], here[64];
    SY_TRY(sy_config_create(&was));
    sy_status status = sy_config_load_text(was, info->path, info->config, strlen(info->config));
    int same = status == SY_OK && hash_of(&was->tokenizer, was->tokenizer.path, there) == SY_OK &&
               hash_of(&was->tokenizer, info->path, here) == SY_OK && strcmp(there, here) == 0;
    const char *const values[] = {was->tokenizer.path, was->tokenizer.bos_token, was->tokenizer.eos_token};
    for (int i = 0; i < 3 && same && status == SY_OK; i++)
        status = sy_config_set(config, SY_LAYER_CHECKPOINT, info->path, keys[i], values[i]);
    sy_config_destroy(was);
    return status;
}

static sy_status take_tokenizer(const struct sy_ckpt *ckpt, struct sy_config *config) {
    if (sy_config_layer_of(config, "tokenizer.path") >= SY_LAYER_FILE)
        return SY_OK;
    SY_TRY(sy_model_folder_tokenizer(ckpt, config));
    int is_byte = strcmp(config->tokenizer.path, "byte") == 0;
    return sy_ckpt_info(ckpt)->has_manifest && !is_byte ? take_source(ckpt, config) : SY_OK;
}

/* A stated tokenizer must be the folder's, if it has one. */
static sy_status check_tokenizer(const struct sy_ckpt *ckpt, const struct sy_config *config) {
    const char *folder = sy_ckpt_info(ckpt)->path;
    char file[SY_CKPT_PATH_BYTES + 32], theirs[64], ours[64];
    struct sy_config *there = NULL;
    snprintf(file, sizeof file, "%s/tokenizer.json", folder);
    if (sy_config_layer_of(config, "tokenizer.path") < SY_LAYER_FILE || access(file, F_OK) != 0)
        return SY_OK;
    SY_TRY(sy_config_create(&there));
    sy_status status = sy_model_folder_tokenizer(ckpt, there);
    if (status == SY_OK)
        status = hash_of(&config->tokenizer, there->tokenizer.path, theirs);
    if (status == SY_OK)
        status = hash_of(&config->tokenizer, config->tokenizer.path, ours);
    if (status == SY_OK && strcmp(ours, theirs) != 0)
        status = sy_config_fail(config, "tokenizer.path",
                                "another tokenizer: its hash is %s, that of %s is %s; leave this out", ours,
                                folder, theirs);
    sy_config_destroy(there);
    return status;
}

/* --- config ------------------------------------------------------------------------------------------- */

/* What changes no tensor may be stated otherwise: a longer context, another balance. */
static sy_status note_changes(struct sy_config *model, struct sy_config *config, const char *folder,
                              const struct sy_log *log) {
    enum sy_config_effect effect;
    const char *key, *there, *here;
    for (int i = 0; (key = sy_config_key(i, &effect)); i++) {
        int is_model = strncmp(key, "model.", 6) == 0 || strncmp(key, "moe.", 4) == 0;
        if (!is_model || effect != SY_EFFECT_ANSWER || strcmp(key, "model.flavor") == 0)
            continue;
        SY_TRY(sy_config_get(model, key, &there));
        SY_TRY(sy_config_get(config, key, &here));
        if (strcmp(there, here) != 0)
            sy_log_warn(log, "%s is %s in %s, here %s", key, there, folder, here);
    }
    return SY_OK;
}

static sy_status take(const struct sy_ckpt *ckpt, struct sy_config *model, struct sy_config *config,
                      const struct sy_log *log) {
    const struct sy_ckpt_info *info = sy_ckpt_info(ckpt);
    if (!config->checkpoint.initial_load_model_only && !info->has_manifest)
        return sy_config_fail(config, model_only_key,
                              "%s is no checkpoint of ours and has no state of an optimizer: choose true",
                              info->path);
    SY_TRY(sy_config_inherit_model(config, model, info->path));
    SY_TRY(take_tokenizer(ckpt, config));
    SY_TRY(sy_config_set(config, SY_LAYER_FLAG, "command line", path_key, info->path));
    SY_TRY(sy_config_finish(config, sy_hopper_here()));
    SY_TRY(sy_config_refuse_model(config, model, info->path));
    SY_TRY(check_tokenizer(ckpt, config));
    int64_t known = sy_ckpt_positions(ckpt);
    if (!info->has_manifest && known > 0 && known < config->training.seq_len)
        sy_log_warn(log, "training.seq_len = %lld is beyond the %lld positions that %s says it knows",
                    (long long)config->training.seq_len, (long long)known, info->path);
    return note_changes(model, config, info->path, log);
}

sy_status sy_start_finish(struct sy_config *config, const struct sy_log *log) {
    struct sy_ckpt *ckpt = NULL;
    struct sy_config *model = NULL;
    if (!*config->checkpoint.initial_load_path)
        return sy_config_finish(config, sy_hopper_here());
    sy_status status = sy_model_folder_open(config->checkpoint.initial_load_path, log, &ckpt);
    if (status == SY_OK)
        status = model_of(ckpt, &model);
    status = status == SY_OK ? take(ckpt, model, config, log) : sy_fail_context(status, "%s", path_key);
    sy_config_destroy(model);
    sy_ckpt_close(ckpt);
    return status;
}

/* --- weights ------------------------------------------------------------------------------------------ */

static sy_status applied_of(const struct sy_ckpt_info *info, int64_t *out) {
    const json_t *applied = json_object_get(info->trainer, "applied");
    *out = json_is_integer(applied) ? json_integer_value(applied) : info->step;
    if (*out < 0 || *out > info->step)
        SY_FAIL(SY_ERR_DATA, "%s: trainer.applied = %lld, but %lld steps were done", info->path,
                (long long)*out, (long long)info->step);
    return SY_OK;
}

sy_status sy_start_load(struct sy_session *s) {
    const struct sy_config_checkpoint *c = &s->config->checkpoint;
    const struct sy_comm *world = &s->groups.world;
    int moments = !c->initial_load_model_only && s->state.has_moments;
    struct sy_ckpt *ckpt = NULL;
    struct sy_config *model = NULL;
    sy_status status = sy_model_folder_open(c->initial_load_path, s->log, &ckpt);
    if (status == SY_OK)
        status = model_of(ckpt, &model);
    if (status == SY_OK && moments)
        status = applied_of(sy_ckpt_info(ckpt), &s->applied);
    status = world->ops->agree(world, status);
    if (status == SY_OK)
        status = world->ops->agree(world, sy_restore(ckpt, model, moments, s, s->log));
    sy_config_destroy(model);
    sy_ckpt_close(ckpt);
    return status == SY_OK ? SY_OK : sy_fail_context(status, "%s", path_key);
}

sy_status sy_start_record(const struct sy_config *config, const char *weights_digest, json_t **out) {
    const struct sy_config_checkpoint *c = &config->checkpoint;
    *out = NULL;
    if (!*c->initial_load_path)
        return SY_OK;
    *out = json_pack("{s:s, s:s, s:b}", "path", c->initial_load_path, "weights_digest", weights_digest,
                     "model_only", (int)c->initial_load_model_only);
    if (!*out)
        SY_FAIL(SY_ERR_MEMORY, "no memory for what the run begins with (or its path is not UTF-8): %s",
                c->initial_load_path);
    return SY_OK;
}
