/* What was meant by a name that is none: first a key whose last part it is, then what others call it
 * (aliases.def), then the nearest by edit distance. See options.h. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "config/internal.h"

static const struct {
    const char *theirs, *ours;
} aliases[] =
    {
#define ALIAS(theirs, ours) {theirs, ours},
#include "config/aliases.def"
},
  flavor_aliases[] = {
#define FLAVOR_ALIAS(theirs, ours) {theirs, ours},
#include "config/aliases.def"
};

int sy_word_distance(const char *a, const char *b) {
    int row[SY_KEY_BYTES + 1], n = (int)strnlen(b, SY_KEY_BYTES), m = (int)strnlen(a, SY_KEY_BYTES);
    for (int j = 0; j <= n; j++)
        row[j] = j;
    for (int i = 1; i <= m; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[n];
}

static const char *last_part(const char *key) {
    const char *dot = strrchr(key, '.');
    return dot ? dot + 1 : key;
}

int sy_option_by_last_part(const char *name, int after) {
    for (int i = after + 1; i < sy_n_options; i++)
        if (!strcmp(last_part(sy_options[i].key), name))
            return i;
    return -1;
}

/* The alias of the last part, its name with and without the section: "moe.k", "k". */
static const char *alias_of(const char *key) {
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (!strcmp(aliases[i].theirs, last_part(key)))
            return aliases[i].ours;
    return NULL;
}

const char *sy_option_meant(const char *key) {
    char name[SY_KEY_BYTES];
    if (!sy_key_normalize(key, strlen(key), name))
        return NULL;
    int best = -1;
    for (int i = -1; (i = sy_option_by_last_part(last_part(name), i)) >= 0;)
        if (best < 0 ||
            sy_word_distance(name, sy_options[i].key) < sy_word_distance(name, sy_options[best].key))
            best = i;
    return best >= 0 ? sy_options[best].key : alias_of(name);
}

const char *sy_option_nearest(const char *key) {
    const char *meant = sy_option_meant(key);
    int best = 0, best_distance = INT32_MAX;
    if (meant)
        return meant;
    for (int i = 0; i < sy_n_options; i++) {
        /* the name weighs more than the section: people forget where a key lives */
        int d = sy_word_distance(key, sy_options[i].key) +
                2 * sy_word_distance(last_part(key), last_part(sy_options[i].key));
        if (d < best_distance) {
            best = i;
            best_distance = d;
        }
    }
    const char *nearest = sy_options[best].key;
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++) {
        int d = 3 * sy_word_distance(last_part(key), aliases[i].theirs);
        if (d < best_distance) {
            nearest = aliases[i].ours;
            best_distance = d;
        }
    }
    return nearest;
}

const char *sy_section_nearest(const char *name) {
    int best = 0;
    for (int i = 1; i < sy_n_sections; i++)
        if (sy_word_distance(name, sy_sections[i].name) < sy_word_distance(name, sy_sections[best].name))
            best = i;
    return sy_sections[best].name;
}

const char *sy_word_nearest(const char *word) {
    const char *section = sy_section_nearest(word), *best = sy_option_meant(word);
    int best_distance = sy_word_distance(word, section);
    if (best)
        return best;
    best = section;
    for (int i = 0; i < sy_n_options; i++) {
        int d = sy_word_distance(word, last_part(sy_options[i].key));
        if (d < best_distance) {
            best = sy_options[i].key;
            best_distance = d;
        }
    }
    return best;
}

/* ---- flavors ---- */

/* Lower case, '-' for every other character: so names compare. */
static void plain(const char *name, char out[SY_KEY_BYTES]) {
    size_t n = strnlen(name, SY_KEY_BYTES - 1);
    for (size_t i = 0; i < n; i++)
        out[i] = isalnum((unsigned char)name[i]) ? (char)tolower((unsigned char)name[i]) : '-';
    out[n] = 0;
}

int sy_flavor_like(const char *name, int after) {
    char want[SY_KEY_BYTES], have[SY_KEY_BYTES];
    plain(name, want);
    if (strlen(want) < 3) /* a part of everything */
        return -1;
    const char *alias = NULL;
    for (size_t i = 0; i < sizeof flavor_aliases / sizeof *flavor_aliases && !alias; i++) {
        plain(flavor_aliases[i].theirs, have);
        if (!strcmp(have, want))
            alias = flavor_aliases[i].ours;
    }
    for (int i = after + 1; i < sy_n_flavors; i++) {
        plain(sy_flavors[i].name, have);
        if (alias ? !strcmp(sy_flavors[i].name, alias) : strstr(have, want) != NULL)
            return i;
    }
    return -1;
}

void sy_flavor_meant(const char *name, char *out, size_t size) {
    struct sy_fixed fixed = {out, 0, size};
    const struct sy_out to = {sy_fixed_write, &fixed};
    int n = 0, best = 0;
    out[0] = 0;
    for (int i = -1; (i = sy_flavor_like(name, i)) >= 0; n++)
        sy_putf(&to, "%s\"%s\"", n ? " or " : "", sy_flavors[i].name);
    for (int i = 1; i < sy_n_flavors; i++)
        if (sy_word_distance(name, sy_flavors[i].name) < sy_word_distance(name, sy_flavors[best].name))
            best = i;
    if (!n)
        sy_putf(&to, "\"%s\"", sy_flavors[best].name);
}
