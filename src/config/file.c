/* The config file: TOML tables become keys. See config.h. */
#include "config/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "prefix.key" in `out`; false if it is too long to be an option. */
static bool join(const char *prefix, const struct sy_toml_entry *e, char out[SY_KEY_BYTES]) {
    char name[SY_KEY_BYTES];
    bool whole = sy_key_normalize(e->key.text, e->key.n, name) && !strchr(name, '.');
    struct sy_fixed fixed = {out, 0, SY_KEY_BYTES};
    const struct sy_out to = {sy_fixed_write, &fixed};
    sy_put(&to, prefix);
    sy_put(&to, *prefix ? "." : "");
    sy_put(&to, name);
    return whole && strlen(prefix) + 1 + strlen(name) < SY_KEY_BYTES;
}

static sy_status load_table(struct sy_config *cfg, struct sy_place *place, const char *prefix,
                            const struct sy_toml_value *table);

static sy_status load_entry(struct sy_config *cfg, struct sy_place *place, const char *prefix,
                            const struct sy_toml_entry *e) {
    char key[SY_KEY_BYTES];
    bool whole = join(prefix, e, key);
    place->line = e->line;
    if (whole && (sy_option_find(key) >= 0 || sy_refused_find(key) >= 0))
        return sy_config_assign(cfg, place, key, e->value);
    if (e->value->type == SY_TOML_TABLE && whole && sy_section_is_known(key))
        return load_table(cfg, place, key, e->value);
    if (e->value->type == SY_TOML_TABLE)
        return sy_config_fail_at(place, key, NULL, "there is no such section: did you mean [%s]?",
                                 sy_section_nearest(key));
    if (whole && sy_section_is_known(key))
        return sy_config_fail_at(place, key, NULL, "this is a section: write [%s] and its keys below it",
                                 key);
    return sy_config_fail_at(place, key, NULL, "there is no such option: did you mean %s?",
                             sy_option_nearest(key));
}

static sy_status load_table(struct sy_config *cfg, struct sy_place *place, const char *prefix,
                            const struct sy_toml_value *table) {
    for (const struct sy_toml_entry *e = table->as.table.first; e; e = e->next)
        SY_TRY(sy_config_note(cfg, load_entry(cfg, place, prefix, e)));
    return SY_OK;
}

sy_status sy_config_load_text(struct sy_config *cfg, const char *name, const char *text, size_t n) {
    struct sy_toml *doc;
    struct sy_place place = {SY_LAYER_FILE, sy_config_keep(cfg, name, strlen(name)), 0, ++cfg->priv->n_loads};
    int before = cfg->priv->n_problems;
    if (!place.where)
        return sy_config_no_memory();
    SY_TRY(sy_config_note(cfg, sy_toml_parse(name, text, n, &doc)));
    SY_TRY(sy_config_noted(cfg, before));
    cfg->priv->file = place.where;
    cfg->priv->file_empty = !sy_toml_root(doc)->as.table.first;
    sy_status status = load_table(cfg, &place, "", sy_toml_root(doc));
    sy_toml_destroy(doc);
    if (status == SY_OK && cfg->priv->n_problems > before)
        status = sy_config_check_pending(cfg); /* a config that is not read is not finished, either */
    return status == SY_OK ? sy_config_noted(cfg, before) : status;
}

sy_status sy_config_load_file(struct sy_config *cfg, const char *path) {
    size_t n = 0, room = 1 << 14;
    FILE *f = fopen(path, "rb");
    if (!f)
        SY_FAIL(SY_ERR_IO, "%s: %s", path, strerror(errno));
    char *text = malloc(room);
    while (text && n <= SY_TOML_MAX_BYTES) {
        n += fread(text + n, 1, room - n, f);
        if (n < room)
            break;
        char *wider = realloc(text, room *= 2);
        if (!wider)
            free(text);
        text = wider;
    }
    int failed = ferror(f) ? errno : 0;
    fclose(f);
    sy_status status;
    if (!text)
        status = sy_config_no_memory();
    else if (failed)
        status = sy_fail(SY_ERR_IO, "%s: %s", path, strerror(failed));
    else
        status = sy_config_load_text(cfg, path, text, n);
    free(text);
    return status;
}
