/* One value from outside: its type and bounds are checked, then it is stored unless a stronger layer is
 * there.
 *
 * Keys of refused.def are recorded, and judged by sy_config_finish: a flag may still set a file's value back
 * to neutral.
 */
#include "config/internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A value as TOML shows it, or with `raw` a string without its quotes. */
static void put_value(const struct sy_out *out, const struct sy_toml_value *v, bool raw) {
    char real[SY_TOML_REAL_BYTES];
    switch (v->type) {
    case SY_TOML_STRING:
        if (raw)
            out->write(out->user, v->as.string.text, v->as.string.n);
        else
            sy_put_string(out, v->as.string.text, v->as.string.n);
        break;
    case SY_TOML_INTEGER:
        sy_putf(out, "%lld", (long long)v->as.integer);
        break;
    case SY_TOML_REAL:
        sy_toml_real_print(v->as.real, real);
        sy_put(out, real);
        break;
    case SY_TOML_BOOLEAN:
        sy_put(out, v->as.boolean ? "true" : "false");
        break;
    case SY_TOML_ARRAY:
        sy_put(out, "[");
        for (const struct sy_toml_value *item = v->as.array.first; item; item = item->next) {
            if (item->type == SY_TOML_ARRAY || item->type == SY_TOML_TABLE)
                sy_put(out, item->type == SY_TOML_ARRAY ? "[...]" : "{...}");
            else
                put_value(out, item, false);
            sy_put(out, item->next ? ", " : "");
        }
        sy_put(out, "]");
        break;
    case SY_TOML_TABLE:
        sy_put(out, "{...}");
        break;
    default:
        sy_put(out, sy_toml_type_name(v->type));
    }
}

static void show(const struct sy_toml_value *v, bool raw, char *text, size_t size) {
    struct sy_fixed fixed = {text, 0, size};
    text[0] = 0;
    put_value(&(struct sy_out){sy_fixed_write, &fixed}, v, raw);
}

/* ---- storing, one function per type ---- */

struct target {
    struct sy_config *cfg;
    const struct sy_option *o;
    const struct sy_place *place;
    const char *shown;
    bool store;  /* false: check only */
    bool append; /* LIST: after what is there */
};

static sy_status wrong_type(const struct target *t, const char *needed) {
    return sy_config_fail_at(t->place, t->o->key, t->shown, "%s is needed here", needed);
}

static sy_status out_of_bounds(const struct target *t) {
    char bounds[512];
    sy_option_bounds(t->o, bounds, sizeof bounds);
    return sy_config_fail_at(t->place, t->o->key, t->shown, "out of bounds: choose %s%s", bounds,
                             t->o->type == SY_OPTION_INT && t->o->first < t->o->least ? ", or leave it out"
                                                                                      : "");
}

static sy_status assign_int(const struct target *t, const struct sy_toml_value *v) {
    if (v->type != SY_TOML_INTEGER)
        return wrong_type(t, "an integer (no quotes, no decimal point)");
    int64_t x = v->as.integer;
    if ((x < t->o->least || x > t->o->most) && x != t->o->first)
        return out_of_bounds(t);
    if (t->store)
        *(int64_t *)sy_option_at(t->cfg, t->o) = x;
    return SY_OK;
}

static sy_status assign_real(const struct target *t, const struct sy_toml_value *v) {
    if (v->type != SY_TOML_INTEGER && v->type != SY_TOML_REAL)
        return wrong_type(t, "a number (no quotes)");
    double x = v->type == SY_TOML_REAL ? v->as.real : (double)v->as.integer;
    if (!isfinite(x) || ((x < t->o->r_least || x > t->o->r_most) && x != t->o->r_first))
        return out_of_bounds(t);
    if (t->store)
        *(double *)sy_option_at(t->cfg, t->o) = x;
    return SY_OK;
}

static sy_status assign_bool(const struct target *t, const struct sy_toml_value *v) {
    if (v->type != SY_TOML_BOOLEAN)
        return wrong_type(t, "true or false (no quotes)");
    if (t->store)
        *(bool *)sy_option_at(t->cfg, t->o) = v->as.boolean;
    return SY_OK;
}

static sy_status assign_choice(const struct target *t, const struct sy_toml_value *v) {
    char bounds[512];
    sy_option_bounds(t->o, bounds, sizeof bounds);
    if (v->type != SY_TOML_STRING)
        return sy_config_fail_at(t->place, t->o->key, t->shown, "choose one of %s", bounds);
    for (int i = 0; t->o->words[i]; i++)
        if (strlen(t->o->words[i]) == v->as.string.n &&
            !memcmp(t->o->words[i], v->as.string.text, v->as.string.n)) {
            if (t->store)
                memcpy(sy_option_at(t->cfg, t->o), &i, sizeof i);
            return SY_OK;
        }
    return sy_config_fail_at(t->place, t->o->key, t->shown, "no such choice: choose one of %s", bounds);
}

static sy_status keep_string(const struct target *t, const struct sy_toml_value *v, const char **out) {
    if (memchr(v->as.string.text, 0, v->as.string.n))
        return sy_config_fail_at(t->place, t->o->key, t->shown, "a string without NUL characters is needed");
    if (!sy_toml_is_utf8(v->as.string.text, v->as.string.n))
        return sy_config_fail_at(t->place, t->o->key, t->shown, "a string in UTF-8 is needed");
    if (!t->store)
        return SY_OK;
    *out = sy_config_keep(t->cfg, v->as.string.text, v->as.string.n);
    return *out ? SY_OK : sy_config_no_memory();
}

static sy_status assign_text(const struct target *t, const struct sy_toml_value *v) {
    const char *text = NULL;
    if (v->type != SY_TOML_STRING)
        return wrong_type(t, "a string in quotes");
    SY_TRY(keep_string(t, v, &text));
    if (t->store)
        *(const char **)sy_option_at(t->cfg, t->o) = text;
    return SY_OK;
}

static sy_status assign_list(const struct target *t, const struct sy_toml_value *v) {
    if (v->type != SY_TOML_STRING && v->type != SY_TOML_ARRAY)
        return wrong_type(t, "a string or a list of strings");
    const struct sy_toml_value *item = v->type == SY_TOML_ARRAY ? v->as.array.first : v;
    struct sy_config_list *list = sy_option_at(t->cfg, t->o);
    int64_t n_old = t->append ? list->n : 0, n = n_old;
    size_t n_new = v->type == SY_TOML_ARRAY ? (size_t)v->as.array.n : 1;
    const char **items = sy_config_take(t->cfg, ((size_t)n_old + n_new) * sizeof *items);
    if (!items)
        return sy_config_no_memory();
    if (n_old)
        memcpy(items, list->items, (size_t)n_old * sizeof *items);
    for (; item; item = v->type == SY_TOML_ARRAY ? item->next : NULL) {
        if (item->type != SY_TOML_STRING)
            return wrong_type(t, "a list of strings, each in quotes,");
        if (t->o->is_path && item->as.string.n == 0)
            continue;
        SY_TRY(keep_string(t, item, &items[n]));
        n++;
    }
    if (t->store)
        *list = (struct sy_config_list){n, items};
    return SY_OK;
}

/* A path that names nothing: "", [] or a list of such. An unset variable of a shell comes so. */
static bool is_no_path(const struct sy_option *o, const struct sy_toml_value *v) {
    if (!o->is_path || (v->type != SY_TOML_STRING && v->type != SY_TOML_ARRAY))
        return false;
    if (v->type == SY_TOML_STRING)
        return v->as.string.n == 0;
    for (const struct sy_toml_value *item = v->as.array.first; item; item = item->next)
        if (item->type != SY_TOML_STRING || item->as.string.n > 0)
            return false;
    return true;
}

static sy_status assign_option(struct sy_config *cfg, int i, const struct sy_place *place,
                               const struct sy_toml_value *v) {
    static sy_status (*const assign[])(const struct target *, const struct sy_toml_value *) = {
        assign_int, assign_real, assign_bool, assign_text, assign_choice, assign_list};
    struct sy_origin *origin = &cfg->priv->origins[i];
    char shown[256], raw[256];
    show(v, false, shown, sizeof shown);
    show(v, true, raw, sizeof raw);
    struct target t = {cfg, &sy_options[i], place, shown, place->layer >= origin->place.layer, false};
    bool same_load = place->load && place->load == origin->place.load;
    t.append = same_load && place->layer == SY_LAYER_FLAG;
    if (same_load && place->layer == SY_LAYER_FILE)
        return sy_config_fail_at(place, t.o->key, shown, "it is already set in line %d ('-' equals '_')",
                                 origin->place.line);
    for (int r = 0; r < sy_n_refused_values; r++)
        if (!strcmp(sy_refused_values[r].key, t.o->key) && !strcmp(sy_refused_values[r].value, raw))
            return sy_config_fail_at(place, t.o->key, shown, "refused: %s", sy_refused_values[r].reason);
    if (is_no_path(t.o, v))
        return SY_OK;
    SY_TRY(assign[t.o->type](&t, v));
    if (t.store)
        *origin = (struct sy_origin){.place = *place};
    return SY_OK;
}

/* ---- refused keys ---- */

static sy_status assign_pending(struct sy_config *cfg, int i, const struct sy_place *place, const char *key,
                                const struct sy_toml_value *v) {
    struct sy_pending *p = &cfg->priv->pendings[i];
    char shown[256], raw[256];
    if (p->key && place->layer < p->place.layer)
        return SY_OK;
    show(v, false, shown, sizeof shown);
    show(v, true, raw, sizeof raw);
    p->place = *place;
    p->shown = sy_config_keep(cfg, shown, strlen(shown));
    p->raw = sy_config_keep(cfg, raw, strlen(raw));
    p->key = sy_config_keep(cfg, key, strlen(key));
    return p->key && p->raw && p->shown ? SY_OK : sy_config_no_memory();
}

static bool is_neutral(const char *neutral, const char *raw) {
    if (!neutral)
        return false;
    if (!strcmp(neutral, "*"))
        return true;
    for (const char *p = neutral;; p++) {
        size_t n = strcspn(p, "|");
        if (strlen(raw) == n && !memcmp(p, raw, n))
            return true;
        p += n;
        if (!*p)
            return false;
    }
}

static sy_status refuse(const struct sy_pending *p, const struct sy_refused *r) {
    if (!r->neutral)
        return sy_config_fail_at(&p->place, p->key, p->shown, "refused: %s", r->reason);
    return sy_config_fail_at(&p->place, p->key, p->shown, "refused unless it is %s: %s",
                             *r->neutral ? r->neutral : "\"\"", r->reason);
}

sy_status sy_config_check_pending(struct sy_config *cfg) {
    for (int i = 0; i < sy_n_refused; i++) {
        const struct sy_pending *p = &cfg->priv->pendings[i];
        const struct sy_refused *r = &sy_refused[i];
        if (p->key && !is_neutral(r->neutral, p->raw))
            SY_TRY(sy_config_note(cfg, refuse(p, r)));
    }
    return SY_OK;
}

/* ---- any key ---- */

sy_status sy_config_assign(struct sy_config *cfg, const struct sy_place *place, const char *key,
                           const struct sy_toml_value *v) {
    int i = sy_option_find(key);
    if (i >= 0)
        return assign_option(cfg, i, place, v);
    i = sy_refused_find(key);
    if (i >= 0)
        return assign_pending(cfg, i, place, key, v);
    return sy_config_fail_at(place, key, NULL, "there is no such option: did you mean %s?",
                             sy_option_nearest(key));
}

/* Text of an option that is no string, or of a refused key, whose type nobody knows: what TOML makes of
 * it. Text that is no number stays a string, for which the message of the type is the better one. */
static sy_status guess(const char *text, struct sy_toml_value *v) {
    struct sy_toml_value scalar = {.type = SY_TOML_STRING};
    sy_status status = sy_toml_scalar(text, strlen(text), &scalar);
    if (status == SY_ERR_MEMORY)
        return status;
    bool number =
        scalar.type == SY_TOML_INTEGER || scalar.type == SY_TOML_REAL || scalar.type == SY_TOML_BOOLEAN;
    if (status == SY_OK && number)
        *v = scalar;
    return SY_OK;
}

sy_status sy_config_assign_text(struct sy_config *cfg, const struct sy_place *place, const char *key,
                                const char *text) {
    struct sy_toml_value v = {.type = SY_TOML_STRING, .as.string = {text, strlen(text)}};
    int i = sy_option_find(key);
    enum sy_option_type type = i < 0 ? SY_OPTION_TEXT : sy_options[i].type;
    if (i < 0 || type == SY_OPTION_INT || type == SY_OPTION_REAL || type == SY_OPTION_BOOL)
        SY_TRY(guess(text, &v));
    return sy_config_assign(cfg, place, key, &v);
}

sy_status sy_config_set(struct sy_config *cfg, enum sy_config_layer layer, const char *where, const char *key,
                        const char *text) {
    struct sy_config_private *priv = cfg->priv;
    char name[SY_KEY_BYTES];
    bool again = priv->last_where && !strcmp(priv->last_where, where);
    if (!again) {
        priv->last_where = sy_config_keep(cfg, where, strlen(where));
        priv->n_loads++;
    }
    if (!priv->last_where)
        return sy_config_no_memory();
    struct sy_place place = {layer, priv->last_where, 0, layer == SY_LAYER_FLAG ? priv->n_loads : 0};
    if (!sy_key_normalize(key, strlen(key), name))
        return sy_config_fail_at(&place, name, NULL, "there is no option with so long a name");
    return sy_config_assign_text(cfg, &place, name, text);
}

sy_status sy_config_clear(struct sy_config *cfg, enum sy_config_layer layer, const char *where,
                          const char *key) {
    char name[SY_KEY_BYTES];
    int i = sy_key_normalize(key, strlen(key), name) ? sy_option_find(name) : -1;
    const char *kept = sy_config_keep(cfg, where, strlen(where));
    struct sy_place place = {layer, kept, 0, 0};
    if (!kept)
        return sy_config_no_memory();
    if (i < 0)
        return sy_config_fail_at(&place, name, NULL, "there is no such option: did you mean %s?",
                                 sy_option_nearest(name));
    if (layer < cfg->priv->origins[i].place.layer)
        return SY_OK;
    sy_option_reset(cfg, i);
    cfg->priv->origins[i] = (struct sy_origin){.place = place};
    return SY_OK;
}

sy_status sy_option_set(struct sy_config *cfg, const char *key, const char *text) {
    return sy_config_set(cfg, SY_LAYER_FLAG, "option", key, text);
}
