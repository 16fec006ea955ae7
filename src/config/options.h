/* The tables behind the config: options (fields.def), refusals (refused.def), flavors (flavors.def), and
 * their lookup.
 *
 * Private to src/config. A key is "section.name" with '_' only; sy_key_normalize makes it so.
 */
#ifndef SY_CONFIG_OPTIONS_H
#define SY_CONFIG_OPTIONS_H

#include "config/config.h"

enum sy_option_type {
    SY_OPTION_INT,
    SY_OPTION_REAL,
    SY_OPTION_BOOL,
    SY_OPTION_TEXT,
    SY_OPTION_CHOICE,
    SY_OPTION_LIST
};

struct sy_option {
    const char *section, *key; /* "model", "model.dim" */
    enum sy_option_type type;
    enum sy_config_effect effect;
    size_t offset;                   /* in struct sy_config */
    int64_t first, least, most;      /* INT; first also CHOICE and BOOL: the default */
    double r_first, r_least, r_most; /* REAL */
    const char *text;                /* TEXT: the default */
    const char *const *words;        /* CHOICE, ends in NULL */
    bool is_path;                    /* TEXT, LIST: a file or folder, empty is as if not given */
    const char *help;
};

struct sy_section {
    const char *name, *help;
};

struct sy_refused {
    const char *section, *name, *neutral, *reason;
};

struct sy_refused_value {
    const char *key, *value, *reason;
};

struct sy_flavor {
    const char *name, *about, *values;
};

extern const struct sy_option sy_options[];
extern const struct sy_section sy_sections[];
extern const struct sy_refused sy_refused[];
extern const struct sy_refused_value sy_refused_values[];
extern const struct sy_flavor sy_flavors[];
extern const int sy_n_options, sy_n_sections, sy_n_refused, sy_n_refused_values, sy_n_flavors;

enum { SY_KEY_BYTES = 128 };

/* n bytes to a key; '-' becomes '_'. False if it is too long or has a NUL; out is then cut. */
bool sy_key_normalize(const char *text, size_t n, char out[SY_KEY_BYTES]);

/* The row of a key, -1 if there is none. A refused row "section.*" matches every key of its section. */
int sy_option_find(const char *key);
int sy_refused_find(const char *key);
bool sy_section_is_known(const char *name); /* also "quantize", "quantize.linear", … */

/* The flavor of that name, '-' equals '_'; NULL if there is none. */
const struct sy_flavor *sy_flavor_find(const char *name);

/* What was meant, never NULL: the nearest option, section, or (word: without a dot) either. */
const char *sy_option_nearest(const char *key);
const char *sy_section_nearest(const char *name);
const char *sy_word_nearest(const char *word);

/* The next option after row `after` (first -1) whose last part is `name`; -1 if there is none. */
int sy_option_by_last_part(const char *name, int after);

/* The next flavor after row `after` (first -1) with `name` in its own name, or that others call so; -1:
 * none. */
int sy_flavor_like(const char *name, int after);
/* Flavors that may be meant, as `"a" or "b"`: those like it, else the nearest. */
void sy_flavor_meant(const char *name, char *out, size_t size);

/* "1 to 10", "mla, gqa", …: what an option accepts. */
void sy_option_bounds(const struct sy_option *o, char *out, size_t size);

#endif
