/* The config as an object: memory of its strings, defaults, origins. See config.h. */
#include "config/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(enum sy_run_tier) == sizeof(int), "choices are stored as int");

struct sy_block {
    struct sy_block *next;
    max_align_t data[];
};

sy_status sy_config_no_memory(void) { SY_FAIL(SY_ERR_MEMORY, "no memory for the configuration"); }

void *sy_config_take(struct sy_config *cfg, size_t bytes) {
    struct sy_block *b = calloc(1, sizeof *b + bytes);
    if (!b)
        return NULL;
    b->next = cfg->priv->blocks;
    cfg->priv->blocks = b;
    return b->data;
}

const char *sy_config_keep(struct sy_config *cfg, const char *text, size_t n) {
    char *copy = sy_config_take(cfg, n + 1);
    if (copy)
        memcpy(copy, text, n);
    return copy;
}

void sy_option_reset(struct sy_config *cfg, int i) {
    const struct sy_option *o = &sy_options[i];
    void *at = sy_option_at(cfg, o);
    cfg->priv->origins[i] = (struct sy_origin){.place = {SY_LAYER_DEFAULT, "default", 0, 0}};
    switch (o->type) {
    case SY_OPTION_INT:
        *(int64_t *)at = o->first;
        break;
    case SY_OPTION_REAL:
        *(double *)at = o->r_first;
        break;
    case SY_OPTION_BOOL:
        *(bool *)at = o->first != 0;
        break;
    case SY_OPTION_TEXT:
        *(const char **)at = o->text;
        break;
    case SY_OPTION_CHOICE:
        memcpy(at, &(int){(int)o->first}, sizeof(int));
        break;
    case SY_OPTION_LIST:
        *(struct sy_config_list *)at = (struct sy_config_list){0};
        break;
    }
}

sy_status sy_config_create(struct sy_config **out) {
    struct sy_config *cfg = calloc(1, sizeof *cfg);
    if (cfg)
        cfg->priv = calloc(1, sizeof *cfg->priv);
    if (cfg && cfg->priv) {
        cfg->priv->origins = sy_config_take(cfg, (size_t)sy_n_options * sizeof *cfg->priv->origins);
        cfg->priv->pendings = sy_config_take(cfg, (size_t)sy_n_refused * sizeof *cfg->priv->pendings);
    }
    if (!cfg || !cfg->priv || !cfg->priv->origins || !cfg->priv->pendings) {
        sy_config_destroy(cfg);
        return sy_config_no_memory();
    }
    for (int i = 0; i < sy_n_options; i++)
        sy_option_reset(cfg, i);
    *out = cfg;
    return SY_OK;
}

void sy_config_destroy(struct sy_config *cfg) {
    if (cfg && cfg->priv) {
        while (cfg->priv->blocks) {
            struct sy_block *b = cfg->priv->blocks;
            cfg->priv->blocks = b->next;
            free(b);
        }
        free(cfg->priv);
    }
    free(cfg);
}

sy_status sy_config_fail_at(const struct sy_place *place, const char *key, const char *shown, const char *fmt,
                            ...) {
    char text[1024], where[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    snprintf(where, sizeof where, place->line ? "%s:%d" : "%s", place->where, place->line);
    return sy_fail(SY_ERR_USAGE, "%s: %s%s%s: %s", where, key, shown ? " = " : "", shown ? shown : "", text);
}

sy_status sy_config_fail(const struct sy_config *cfg, const char *key, const char *fmt, ...) {
    char text[1024], name[SY_KEY_BYTES], shown[256] = "";
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    sy_key_normalize(key, strlen(key), name);
    int i = sy_option_find(name);
    if (i < 0)
        return sy_fail(SY_ERR_USAGE, "%s: %s", name, text);
    struct sy_fixed fixed = {shown, 0, sizeof shown};
    sy_put_option(&(struct sy_out){sy_fixed_write, &fixed}, cfg, &sy_options[i]);
    struct sy_place place = cfg->priv->origins[i].place;
    if (place.layer == SY_LAYER_DEFAULT && cfg->priv->file)
        place.where = cfg->priv->file; /* the file that could have said it */
    return sy_config_fail_at(&place, name, shown, "%s", text);
}

enum sy_config_layer sy_config_layer_of(const struct sy_config *cfg, const char *key) {
    char name[SY_KEY_BYTES];
    int i = sy_key_normalize(key, strlen(key), name) ? sy_option_find(name) : -1;
    if (i < 0)
        return SY_LAYER_DEFAULT;
    return cfg->priv->origins[i].ruled ? SY_LAYER_RULE : cfg->priv->origins[i].place.layer;
}

const char *sy_config_word(const struct sy_config *cfg, const char *key) {
    char name[SY_KEY_BYTES];
    int i = sy_key_normalize(key, strlen(key), name) ? sy_option_find(name) : -1, choice;
    if (i < 0 || sy_options[i].type != SY_OPTION_CHOICE)
        return NULL;
    memcpy(&choice, sy_option_at(cfg, &sy_options[i]), sizeof choice);
    return sy_options[i].words[choice];
}

const char *sy_config_key(int i, enum sy_config_effect *effect) {
    if (i < 0 || i >= sy_n_options)
        return NULL;
    if (effect)
        *effect = sy_options[i].effect;
    return sy_options[i].key;
}

const char *sy_config_flavor(int i, const char **about) {
    if (i < 0 || i >= sy_n_flavors)
        return NULL;
    if (about)
        *about = sy_flavors[i].about;
    return sy_flavors[i].name;
}
