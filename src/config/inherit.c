/* What a resumed run takes from its checkpoint, by one rule for all sections: a key that neither file nor
 * flags state keeps its value. See config.h.
 *
 * Keys that a rule resolves when they are left open ("auto", 0: not given) come last: only where the rule
 * would choose another value than the checkpoint's is that one kept, so that what is kept is what is worth
 * telling.
 */
#include <stdio.h>
#include <string.h>

#include "config/internal.h"

static bool same_list(const struct sy_config_list *a, const struct sy_config_list *b) {
    bool same = a->n == b->n;
    for (int64_t i = 0; i < a->n && same; i++)
        same = !strcmp(a->items[i], b->items[i]);
    return same;
}

static bool is_same(const struct sy_config *a, const struct sy_config *b, const struct sy_option *o) {
    const void *x = sy_option_at(a, o), *y = sy_option_at(b, o);
    switch (o->type) {
    case SY_OPTION_INT:
        return *(const int64_t *)x == *(const int64_t *)y;
    case SY_OPTION_REAL:
        return *(const double *)x == *(const double *)y;
    case SY_OPTION_BOOL:
        return *(const bool *)x == *(const bool *)y;
    case SY_OPTION_TEXT:
        return !strcmp(*(const char *const *)x, *(const char *const *)y);
    case SY_OPTION_CHOICE:
        return !memcmp(x, y, sizeof(int));
    case SY_OPTION_LIST:
        return same_list(x, y);
    }
    return false;
}

static sy_status copy_list(struct sy_config *cfg, const struct sy_config_list *from,
                           struct sy_config_list *to) {
    const char **items = sy_config_take(cfg, (size_t)from->n * sizeof *items);
    if (!items)
        return sy_config_no_memory();
    for (int64_t i = 0; i < from->n; i++)
        if (!(items[i] = sy_config_keep(cfg, from->items[i], strlen(from->items[i]))))
            return sy_config_no_memory();
    *to = (struct sy_config_list){from->n, items};
    return SY_OK;
}

static sy_status copy(struct sy_config *cfg, const struct sy_config *from, int i, const char *where) {
    static const size_t sizes[] = {[SY_OPTION_INT] = sizeof(int64_t),
                                   [SY_OPTION_REAL] = sizeof(double),
                                   [SY_OPTION_BOOL] = sizeof(bool),
                                   [SY_OPTION_CHOICE] = sizeof(int)};
    const struct sy_option *o = &sy_options[i];
    void *to = sy_option_at(cfg, o);
    const void *at = sy_option_at(from, o);
    if (o->type == SY_OPTION_LIST) {
        SY_TRY(copy_list(cfg, at, to));
    } else if (o->type == SY_OPTION_TEXT) {
        const char *text = *(const char *const *)at, *kept = sy_config_keep(cfg, text, strlen(text));
        if (!kept)
            return sy_config_no_memory();
        *(const char **)to = kept;
    } else {
        memcpy(to, at, sizes[o->type]);
    }
    cfg->priv->origins[i] = (struct sy_origin){.place = {SY_LAYER_CHECKPOINT, where, 0, 0}};
    return SY_OK;
}

/* It has a value that means "left open". */
static bool may_be_open(const struct sy_option *o) {
    return (o->type == SY_OPTION_INT && o->first < o->least) ||
           (o->type == SY_OPTION_CHOICE && !strcmp(o->words[o->first], "auto"));
}

static bool is_of_model(const struct sy_option *o) {
    return !strncmp(o->key, "model.", 6) || !strncmp(o->key, "moe.", 4);
}

struct inheriting {
    const struct sy_config *before;
    const char *where;
    bool model_only;   /* [model] and [moe] */
    bool other_flavor; /* the config states another one */
};

/* The keys that may be left open, or those that may not, that are not stated. */
static sy_status inherit(struct sy_config *cfg, const struct inheriting *from, bool open) {
    for (int i = 0; i < sy_n_options; i++) {
        const struct sy_option *o = &sy_options[i];
        const struct sy_origin *origin = &cfg->priv->origins[i];
        enum sy_config_layer layer = origin->place.layer;
        bool stated = layer >= SY_LAYER_FILE || (layer == SY_LAYER_FLAVOR && from->other_flavor);
        if (o->effect == SY_EFFECT_LAYOUT || may_be_open(o) != open || (stated && !origin->ruled) ||
            (from->model_only && !is_of_model(o)) || is_same(cfg, from->before, o))
            continue;
        SY_TRY(copy(cfg, from->before, i, from->where));
    }
    return SY_OK;
}

static bool is_other_flavor(const struct sy_config *cfg, const struct sy_config *before) {
    int i = sy_option_find("model.flavor");
    return cfg->priv->origins[i].place.layer >= SY_LAYER_FILE &&
           sy_flavor_find(cfg->model.flavor) != sy_flavor_find(before->model.flavor);
}

/* The buffer of a checkpoint stays. */
static sy_status keep_bias(struct sy_config *cfg, const struct sy_config *before, const char *where) {
    struct sy_origin *origin = &cfg->priv->origins[sy_option_find("moe.keep_bias")];
    if (!sy_config_has_expert_bias(&before->moe) || sy_config_has_expert_bias(&cfg->moe))
        return SY_OK;
    if (origin->place.layer >= SY_LAYER_FILE)
        return sy_config_fail(cfg, "moe.keep_bias",
                              "%s has an expert bias, which stays: choose true, or leave it out", where);
    cfg->moe.keep_bias = true;
    *origin = (struct sy_origin){.place = {SY_LAYER_CHECKPOINT, where, 0, 0}};
    return SY_OK;
}

static sy_status inherit_all(struct sy_config *cfg, const struct sy_config *before, const char *where,
                             bool model_only) {
    const char *kept = sy_config_keep(cfg, where, strlen(where));
    int flavor = sy_option_find("model.flavor");
    if (!kept)
        return sy_config_no_memory();
    if (cfg->priv->origins[flavor].place.layer < SY_LAYER_FILE && !is_same(cfg, before, &sy_options[flavor]))
        SY_TRY(copy(cfg, before, flavor, kept));
    SY_TRY(sy_config_apply_flavor(cfg));
    struct inheriting from = {before, kept, model_only, is_other_flavor(cfg, before)};
    SY_TRY(inherit(cfg, &from, false));
    sy_status rules = sy_config_apply_rules(cfg, false); /* one that fails leaves its key open */
    if (rules != SY_OK && rules != SY_ERR_USAGE)
        return rules;
    SY_TRY(inherit(cfg, &from, true));
    return keep_bias(cfg, before, kept);
}

sy_status sy_config_inherit(struct sy_config *cfg, const struct sy_config *before, const char *where) {
    return inherit_all(cfg, before, where, false);
}

sy_status sy_config_inherit_model(struct sy_config *cfg, const struct sy_config *before, const char *where) {
    return inherit_all(cfg, before, where, true);
}

/* A problem for one key: "`who` has its value: `why`". */
static sy_status refuse(struct sy_config *cfg, const struct sy_config *before, const struct sy_option *o,
                        const char *who, const char *why) {
    char was[256] = "";
    struct sy_fixed fixed = {was, 0, sizeof was};
    sy_put_option(&(struct sy_out){sy_fixed_write, &fixed}, before, o);
    return sy_config_note(cfg, sy_config_fail(cfg, o->key, "%s has %s: %s", who, was, why));
}

sy_status sy_config_refuse_changes(struct sy_config *cfg, const struct sy_config *before,
                                   enum sy_config_effect effect, const char *why) {
    cfg->priv->n_problems = 0;
    for (int i = 0; i < sy_n_options; i++) {
        const struct sy_option *o = &sy_options[i];
        if (o->effect == effect && !is_same(cfg, before, o))
            SY_TRY(refuse(cfg, before, o, "the run", why));
    }
    return sy_config_noted(cfg, 0);
}

sy_status sy_config_refuse_model(struct sy_config *cfg, const struct sy_config *before, const char *where) {
    cfg->priv->n_problems = 0;
    for (int i = 0; i < sy_n_options; i++) {
        const struct sy_option *o = &sy_options[i];
        if (o->effect == SY_EFFECT_MODEL && is_of_model(o) && !is_same(cfg, before, o))
            SY_TRY(refuse(cfg, before, o, where, "its weights are of another model; leave this out"));
    }
    return sy_config_noted(cfg, 0);
}
