/* Going on from a checkpoint: see resume.h. */
#include "train/classes.h"
#include "train/resume.h"

#include <stdlib.h>
#include <string.h>

#include "train/restore.h"

/* --- the config ----------------------------------------------------------------------------------- */

/* A flavor is a name of what the other keys say; another version may not know it. */
static int knows_flavor(const char *name) {
    const char *known;
    for (int i = 0; (known = sy_config_flavor(i, NULL)); i++)
        if (strcmp(known, name) == 0)
            return 1;
    return *name == 0;
}

static sy_status read_before(struct sy_resume *r) {
    const struct sy_ckpt_info *info = sy_ckpt_info(r->ckpt);
    SY_TRY(sy_config_create(&r->before));
    sy_status status = sy_config_load_text(r->before, info->path, info->config, strlen(info->config));
    if (status == SY_OK && !knows_flavor(r->before->model.flavor))
        status = sy_config_clear(r->before, SY_LAYER_FLAG, info->path, "model.flavor");
    if (status == SY_OK)
        status = sy_config_finish(r->before, false);
    if (status == SY_ERR_USAGE)
        return sy_fail_context(SY_ERR_DATA, "the config in this checkpoint's manifest");
    return status;
}

/* What is kept from the checkpoint because nothing states it. */
static sy_status name_kept(const struct sy_resume *r, struct sy_config *config, const struct sy_log *log) {
    const char *key, *value;
    for (int i = 0; (key = sy_config_key(i, NULL)); i++) {
        if (sy_config_layer_of(config, key) != SY_LAYER_CHECKPOINT)
            continue;
        SY_TRY(sy_config_get(config, key, &value));
        sy_log_info(log, "kept from %s: %s = %s", sy_ckpt_info(r->ckpt)->path, key, value);
    }
    return SY_OK;
}

/* What the run began with stays, whatever is stated now. */
static sy_status keep_start(const struct sy_resume *r, struct sy_config *config, const struct sy_log *log) {
    static const char *const keys[] = {"checkpoint.initial_load_path", "checkpoint.initial_load_model_only"};
    const char *where = sy_ckpt_info(r->ckpt)->path, *was = r->before->checkpoint.initial_load_path;
    if (sy_config_layer_of(config, keys[0]) >= SY_LAYER_FILE && *config->checkpoint.initial_load_path)
        sy_log_info(log, "%s is not read: the run goes on from %s; it began with %s", keys[0], where,
                    *was ? was : "initial values");
    for (int i = 0; i < 2; i++)
        SY_TRY(sy_config_clear(config, SY_LAYER_FLAG, where, keys[i]));
    SY_TRY(sy_config_set(config, SY_LAYER_FLAG, where, keys[0], was));
    return sy_config_set(config, SY_LAYER_FLAG, where, keys[1],
                         r->before->checkpoint.initial_load_model_only ? "true" : "false");
}

/* The chain of recipe ids: the checkpoint's, and its own if the recipe changed with checkpoint.new_recipe. */
static sy_status check_recipe(struct sy_resume *r, const struct sy_config *config, const struct sy_log *log) {
    const struct sy_ckpt_info *info = sy_ckpt_info(r->ckpt);
    r->former = calloc((size_t)info->n_former_recipes + 1, sizeof *r->former);
    if (!r->former)
        SY_FAIL(SY_ERR_MEMORY, "no memory for the chain of recipes");
    for (int i = 0; i < info->n_former_recipes; i++)
        r->former[r->n_former++] = info->former_recipes[i];
    if (strcmp(info->recipe_id, r->recipe_id) == 0)
        return SY_OK;
    if (!config->checkpoint.new_recipe) {
        SY_TRY(sy_ckpt_recipe_check(r->ckpt, config));
        SY_FAIL(SY_ERR_USAGE,
                "recipe id %s of the checkpoint is not this run's %s; checkpoint.new_recipe=true goes on "
                "anyway",
                info->recipe_id, r->recipe_id);
    }
    r->former[r->n_former++] = info->recipe_id;
    sy_log_warn(log, "new recipe %s from step %lld on; it was %s", r->recipe_id, (long long)info->step,
                info->recipe_id);
    return SY_OK;
}

sy_status sy_resume_find(const char *run_dir, struct sy_config *config, const struct sy_log *log,
                         struct sy_resume *r) {
    if (config->run.fresh && sy_ckpt_any(run_dir))
        SY_FAIL(
            SY_ERR_USAGE,
            "run.fresh: %s has checkpoints; give another run.dir, or leave out --run.fresh to go on there",
            run_dir);
    SY_TRY(sy_ckpt_find_latest(run_dir, log, NULL, &r->ckpt));
    if (r->ckpt) {
        SY_TRY(read_before(r));
        SY_TRY(sy_config_inherit(config, r->before, sy_ckpt_info(r->ckpt)->path));
        SY_TRY(keep_start(r, config, log));
        SY_TRY(sy_config_refuse_changes(config, r->before, SY_EFFECT_MODEL,
                                        "another model; choose another run.dir, or leave this out"));
    }
    SY_TRY(sy_config_finish(config, sy_hopper_here()));
    SY_TRY(sy_ckpt_recipe_id(config, r->recipe_id));
    if (!r->ckpt)
        return SY_OK;
    SY_TRY(check_recipe(r, config, log));
    return sy_resume_is_done(r, config) ? SY_OK : name_kept(r, config, log);
}

sy_status sy_resume_from(struct sy_ckpt *ckpt, struct sy_resume *r) {
    *r = (struct sy_resume){.ckpt = ckpt};
    return ckpt ? read_before(r) : SY_OK;
}

int sy_resume_is_done(const struct sy_resume *r, const struct sy_config *config) {
    return r->ckpt && sy_ckpt_info(r->ckpt)->step >= config->training.steps;
}

/* --- its state ------------------------------------------------------------------------------------ */

/* Other documents: the options that ask for them are the error, or else the files. */
static sy_status check_data(const struct sy_resume *r, struct sy_session *s) {
    const struct sy_ckpt_info *info = sy_ckpt_info(r->ckpt);
    if (!info->data_fingerprint)
        return SY_OK;
    sy_status status = sy_mixture_check(s->data.mixture, sy_tokenizer_hash(s->data.tokenizer), info->path,
                                        info->data_fingerprint);
    if (status != SY_ERR_DATA)
        return status;
    char why[2048];
    snprintf(why, sizeof why, "%s", sy_error_message());
    SY_TRY(sy_config_refuse_changes(s->config, r->before, SY_EFFECT_DATA,
                                    "other documents; choose another run.dir, or leave this out"));
    return sy_fail(SY_ERR_DATA, "%s", why);
}

/* The tokens that a checkpoint was trained on; one without a count has the sequences, which were of its
 * recipe's length. */
static sy_status tokens_of(const struct sy_ckpt_info *info, int64_t *tokens) {
    const json_t *count = json_object_get(info->trainer, "tokens");
    int64_t seq_len = json_integer_value(json_object_get(info->recipe, "seq_len"));
    if (seq_len < 1 || __builtin_mul_overflow(info->next_sequence, seq_len, tokens))
        SY_FAIL(SY_ERR_DATA, "%s: %lld sequences of %lld tokens are not possible", info->path,
                (long long)info->next_sequence, (long long)seq_len);
    if (!count)
        return SY_OK;
    *tokens = json_is_integer(count) ? json_integer_value(count) : -1;
    if (*tokens < 0 || *tokens / seq_len != info->next_sequence)
        SY_FAIL(SY_ERR_DATA, "%s: trainer.tokens = %lld, but the next sequence of %lld tokens is %lld",
                info->path, (long long)*tokens, (long long)seq_len, (long long)info->next_sequence);
    return SY_OK;
}

/* Where its sources are; sequences of another length begin a stretch. */
static sy_status find_place(const struct sy_ckpt_info *info, struct sy_session *s) {
    int64_t seq_len = json_integer_value(json_object_get(info->recipe, "seq_len"));
    SY_TRY(sy_mixture_place_read(s->data.mixture, info->path, json_object_get(info->trainer, "sources"),
                                 s->base_token, &s->place));
    struct sy_mixture_place now = s->place;
    if (sy_mixture_move(s->data.mixture, seq_len, s->base_token, &now) != SY_OK)
        return sy_fail_context(SY_ERR_DATA, "%s: trainer.sources", info->path);
    if (seq_len != s->config->training.seq_len)
        s->place = now;
    return SY_OK;
}

/* A warning for each option that changes bits and is not what the checkpoint was trained with. */
static sy_status note_changes(const struct sy_resume *r, struct sy_config *config, const struct sy_log *log) {
    enum sy_config_effect effect;
    const char *key, *was, *is;
    for (int i = 0; (key = sy_config_key(i, &effect)); i++) {
        int says_nothing = strcmp(key, "model.flavor") == 0; /* but what other keys say */
        if ((effect != SY_EFFECT_ANSWER && effect != SY_EFFECT_RECIPE) || says_nothing ||
            sy_config_layer_of(config, key) == SY_LAYER_CHECKPOINT)
            continue;
        SY_TRY(sy_config_get(r->before, key, &was));
        SY_TRY(sy_config_get(config, key, &is));
        if (strcmp(was, is) != 0)
            sy_log_warn(log,
                        "%s was %s up to step %lld, now %s: the bits go another way than those of a run "
                        "without the change",
                        key, was, (long long)sy_ckpt_info(r->ckpt)->step, is);
    }
    return SY_OK;
}

sy_status sy_resume_load(const struct sy_resume *r, struct sy_session *s, const struct sy_log *log,
                         int64_t *step, char digest[SY_DIGEST_CHARS]) {
    const struct sy_ckpt_info *info = sy_ckpt_info(r->ckpt);
    const struct sy_comm *world = &s->groups.world;
    sy_status status = world->rank == 0 ? check_data(r, s) : SY_OK;
    if (status == SY_OK)
        status = sy_restore(r->ckpt, r->before, 1, s, log);
    SY_TRY(world->ops->agree(world, status));
    SY_TRY(sy_session_weights_changed(s));
    SY_TRY(sy_session_digest(s, digest)); /* of the names that they have now, with buffers that are new */
    *step = s->base_step = info->step;
    SY_TRY(tokens_of(info, &s->base_token));
    SY_TRY(find_place(info, s));
    json_t *applied = json_object_get(info->trainer, "applied");
    s->applied = json_is_integer(applied) ? json_integer_value(applied) : info->step;
    if (s->applied < 0 || s->applied > info->step)
        SY_FAIL(SY_ERR_DATA, "%s: trainer.applied = %lld, but %lld steps were done", info->path,
                (long long)s->applied, (long long)info->step);
    if (sy_resume_is_done(r, s->config)) {
        sy_log_info(log, "nothing to do: step %lld of training.steps = %lld is done already",
                    (long long)info->step, (long long)s->config->training.steps);
        return SY_OK;
    }
    sy_log_info(log, "resumed from %s at step %lld", info->path, (long long)info->step);
    return world->rank == 0 ? note_changes(r, s->config, log) : SY_OK;
}

void sy_resume_fini(struct sy_resume *r) {
    sy_ckpt_close(r->ckpt);
    sy_config_destroy(r->before);
    free(r->former);
    *r = (struct sy_resume){0};
}
