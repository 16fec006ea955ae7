/* The config's tables and the look-up of a row. See options.h. */
#include "config/options.h"

#include <stdio.h>
#include <string.h>

#include "formats/toml.h"

/* clang-format off */
#define CHOICES(section, key) static const char *const words_##section##_##key[] = {
#define VALUE(constant, word) word,
#define CHOICES_END(section, key) NULL};
#include "config/choices.def"

#define ROW(s, k, name, t, e, h) \
    .section = #s, .key = #s "." name, .type = SY_OPTION_##t, .effect = SY_EFFECT_##e, \
    .offset = offsetof(struct sy_config, s.k), .help = h

const struct sy_option sy_options[] = {
#define INT(s, k, def, lo, hi, e, h) {ROW(s, k, #k, INT, e, h), .first = def, .least = lo, .most = hi},
#define REAL(s, k, def, lo, hi, e, h) {ROW(s, k, #k, REAL, e, h), .r_first = def, .r_least = lo, .r_most = hi},
#define BOOL(s, k, def, e, h) {ROW(s, k, #k, BOOL, e, h), .first = def},
#define TEXT(s, k, name, def, e, h) {ROW(s, k, name, TEXT, e, h), .text = def},
#define CHOICE(s, k, def, e, h) {ROW(s, k, #k, CHOICE, e, h), .first = def, .words = words_##s##_##k},
#define LIST(s, k, e, h) {ROW(s, k, #k, LIST, e, h)},
#define PATH(s, k, def, e, h) {ROW(s, k, #k, TEXT, e, h), .text = def, .is_path = true},
#define PATHS(s, k, e, h) {ROW(s, k, #k, LIST, e, h), .is_path = true},
#include "config/fields.def"
};

const struct sy_section sy_sections[] = {
#define SECTION(section, help) {#section, help},
#include "config/fields.def"
};

const struct sy_refused sy_refused[] = {
#define REFUSED(section, key, neutral, reason) {section, key, neutral, reason},
#include "config/refused.def"
};

const struct sy_refused_value sy_refused_values[] = {
#define REFUSED_VALUE(key, value, reason) {key, value, reason},
#include "config/refused.def"
};

const struct sy_flavor sy_flavors[] = {
#define FLAVOR(name, about, values) {name, about, values},
#include "config/flavors.def"
};

/* clang-format on */

#define COUNT(table) ((int)(sizeof(table) / sizeof *(table)))
const int sy_n_options = COUNT(sy_options), sy_n_sections = COUNT(sy_sections),
          sy_n_refused = COUNT(sy_refused), sy_n_refused_values = COUNT(sy_refused_values),
          sy_n_flavors = COUNT(sy_flavors);

bool sy_key_normalize(const char *text, size_t n, char out[SY_KEY_BYTES]) {
    bool whole = n < SY_KEY_BYTES && !memchr(text, 0, n);
    if (n >= SY_KEY_BYTES)
        n = SY_KEY_BYTES - 1;
    for (size_t i = 0; i < n; i++)
        out[i] = text[i] == '-' ? '_' : text[i] ? text[i] : '?';
    out[n] = 0;
    return whole;
}

int sy_option_find(const char *key) {
    for (int i = 0; i < sy_n_options; i++)
        if (!strcmp(sy_options[i].key, key))
            return i;
    return -1;
}

int sy_refused_find(const char *key) {
    for (int i = 0; i < sy_n_refused; i++) {
        size_t n = strlen(sy_refused[i].section);
        if (!strncmp(key, sy_refused[i].section, n) && key[n] == '.' &&
            (!strcmp(sy_refused[i].name, "*") || !strcmp(sy_refused[i].name, key + n + 1)))
            return i;
    }
    return -1;
}

static bool is_prefix(const char *section, const char *name, size_t n) {
    return !strncmp(section, name, n) && (!section[n] || section[n] == '.');
}

bool sy_section_is_known(const char *name) {
    size_t n = strlen(name);
    for (int i = 0; i < sy_n_sections; i++)
        if (!strcmp(sy_sections[i].name, name))
            return true;
    for (int i = 0; i < sy_n_refused; i++)
        if (is_prefix(sy_refused[i].section, name, n))
            return true;
    return false;
}

const struct sy_flavor *sy_flavor_find(const char *name) {
    char a[SY_KEY_BYTES], b[SY_KEY_BYTES];
    if (!sy_key_normalize(name, strlen(name), a))
        return NULL;
    for (int i = 0; i < sy_n_flavors; i++) {
        sy_key_normalize(sy_flavors[i].name, strlen(sy_flavors[i].name), b);
        if (!strcmp(a, b))
            return &sy_flavors[i];
    }
    return NULL;
}

void sy_option_bounds(const struct sy_option *o, char *out, size_t size) {
    char lo[SY_TOML_REAL_BYTES], hi[SY_TOML_REAL_BYTES];
    size_t used = 0;
    switch (o->type) {
    case SY_OPTION_INT:
        if (o->most == INT64_MAX)
            snprintf(out, size, "%lld or more", (long long)o->least);
        else
            snprintf(out, size, "%lld to %lld", (long long)o->least, (long long)o->most);
        return;
    case SY_OPTION_REAL:
        sy_toml_real_print(o->r_least, lo);
        sy_toml_real_print(o->r_most, hi);
        snprintf(out, size, "%s to %s", lo, hi);
        return;
    case SY_OPTION_CHOICE:
        out[0] = 0;
        for (int i = 0; o->words[i] && used < size; i++)
            used += (size_t)snprintf(out + used, size - used, "%s\"%s\"", i ? ", " : "", o->words[i]);
        return;
    case SY_OPTION_BOOL:
        snprintf(out, size, "true or false");
        return;
    case SY_OPTION_TEXT:
        snprintf(out, size, o->is_path ? "a path" : "a string");
        return;
    case SY_OPTION_LIST:
        snprintf(out, size, o->is_path ? "a path or a list of paths" : "a string or a list of strings");
        return;
    }
}

const char *sy_option_key(int i) { return sy_config_key(i, NULL); }

const char *sy_option_word(const char *key, int i) {
    static const char *const truths[] = {"true", "false"};
    int k = sy_option_find(key), n = 0;
    if (k < 0 || i < 0)
        return NULL;
    if (sy_options[k].type == SY_OPTION_BOOL)
        return i < 2 ? truths[i] : NULL;
    if (sy_options[k].type != SY_OPTION_CHOICE)
        return strcmp(key, "model.flavor") ? NULL : sy_config_flavor(i, NULL);
    while (sy_options[k].words[n])
        n++;
    return i < n ? sy_options[k].words[i] : NULL;
}
