/* Options on the command line: --a.b=v, --a.b v, --a.b and --a.no-b for booleans, --a.no-b for paths,
 * repeated for lists. See config.h. */
#include "config/internal.h"

#include <string.h>

/* True if the argument names an option: --, then a dot before any '='. */
static bool is_option(const char *arg) {
    size_t n = strcspn(arg, "=");
    return !strncmp(arg, "--", 2) && n > 2 && memchr(arg, '.', n);
}

static bool is_boolean(const char *key) {
    int i = sy_option_find(key), r = i < 0 ? sy_refused_find(key) : -1;
    if (i >= 0)
        return sy_options[i].type == SY_OPTION_BOOL;
    return r >= 0 && sy_refused[r].neutral &&
           (!strcmp(sy_refused[r].neutral, "false") || !strcmp(sy_refused[r].neutral, "true"));
}

static bool is_path(const char *key) {
    int i = sy_option_find(key);
    return i >= 0 && sy_options[i].is_path;
}

/* section.no_key, where section.key is a boolean or a path and section.no_key is nothing: removes "no_". */
static bool strip_no(char key[SY_KEY_BYTES]) {
    char plain[SY_KEY_BYTES];
    char *dot = strrchr(key, '.');
    if (!dot || strncmp(dot + 1, "no_", 3) || sy_option_find(key) >= 0)
        return false;
    size_t n = (size_t)(dot + 1 - key);
    memcpy(plain, key, n);
    memcpy(plain + n, dot + 4, strlen(dot + 4) + 1);
    if (!is_boolean(plain) && !is_path(plain))
        return false;
    memcpy(key, plain, sizeof plain);
    return true;
}

/* One option at argv[i]; *used: how many arguments it took. */
static sy_status flag(struct sy_config *cfg, const struct sy_place *place, const char *arg, const char *next,
                      int *used) {
    char key[SY_KEY_BYTES];
    size_t n = strcspn(arg + 2, "=");
    const char *value = arg[2 + n] ? arg + 2 + n + 1 : NULL;
    *used = 1;
    if (!sy_key_normalize(arg + 2, n, key))
        return sy_config_fail_at(place, key, NULL, "there is no option with so long a name");
    if (strip_no(key)) {
        if (value)
            return sy_config_fail_at(place, key, value, "the form with \"no\" takes no value");
        return is_path(key) ? sy_config_clear(cfg, place->layer, place->where, key)
                            : sy_config_assign_text(cfg, place, key, "false");
    }
    if (!value && is_boolean(key) && !(next && (!strcmp(next, "true") || !strcmp(next, "false"))))
        return sy_config_assign_text(cfg, place, key, "true");
    if (!value) {
        if (sy_option_find(key) < 0 &&
            sy_refused_find(key) < 0) /* the unknown key is the news, not its value */
            return sy_config_assign_text(cfg, place, key, "");
        if (!next || !strncmp(next, "--", 2))
            return sy_config_fail_at(place, key, NULL, "a value is missing: write --%s=VALUE", key);
        value = next;
        *used = 2;
    }
    return sy_config_assign_text(cfg, place, key, value);
}

sy_status sy_config_flags(struct sy_config *cfg, int *argc, char **argv) {
    static const char where[] = "command line";
    struct sy_place place = {SY_LAYER_FLAG, where, 0, ++cfg->priv->n_loads};
    int kept = *argc > 0, i = 1, before = cfg->priv->n_problems;
    while (i < *argc && strcmp(argv[i], "--")) {
        int used = 1;
        if (is_option(argv[i]))
            SY_TRY(
                sy_config_note(cfg, flag(cfg, &place, argv[i], i + 1 < *argc ? argv[i + 1] : NULL, &used)));
        else
            argv[kept++] = argv[i];
        i += used;
    }
    while (i < *argc)
        argv[kept++] = argv[i++];
    if (kept < *argc)
        argv[kept] = NULL;
    *argc = kept;
    return sy_config_noted(cfg, before);
}
