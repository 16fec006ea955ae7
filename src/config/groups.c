/* An item of optimizer.groups: see groups.h. */
#include "config/groups.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

static const char form[] = "as in \"*norm*: weight_decay=0\", \"*.gate.*: lr=0.5\" or \"*embed*: frozen\"";

/* The words between spaces. */
static void trim(const char **s, const char *end, size_t *n) {
    while (*s < end && (**s == ' ' || **s == '\t'))
        ++*s;
    while (end > *s && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *n = (size_t)(end - *s);
}

static int is(const char *s, size_t n, const char *word) { return n == strlen(word) && !memcmp(s, word, n); }

static sy_status number(const char *s, size_t n, double *out) {
    char text[64], *end;
    size_t used = n < sizeof text - 1 ? n : sizeof text - 1;
    memcpy(text, s, used);
    text[used] = 0;
    *out = strtod(text, &end);
    if (n == 0 || n != used || *end || !(*out >= 0 && *out <= 1e3))
        SY_FAIL(SY_ERR_USAGE, "\"%s\" is no number in 0..1000", text);
    return SY_OK;
}

static sy_status setting(const char *s, const char *end, struct sy_optimizer_group *g, bool *has_lr) {
    size_t n, key, value_n;
    trim(&s, end, &n);
    const char *equals = memchr(s, '=', n), *value = equals ? equals + 1 : s + n;
    if (is(s, n, "frozen") && !*has_lr) {
        *has_lr = true;
        g->lr = 0;
        return SY_OK;
    }
    trim(&s, equals ? equals : s + n, &key);
    trim(&value, equals ? end : value, &value_n);
    if (equals && is(s, key, "lr") && !*has_lr) {
        *has_lr = true;
        return number(value, value_n, &g->lr);
    }
    if (equals && is(s, key, "weight_decay") && !g->decays) {
        g->decays = true;
        return number(value, value_n, &g->weight_decay);
    }
    SY_FAIL(SY_ERR_USAGE, "\"%.*s\" is none of lr=FACTOR, weight_decay=X and frozen, each at most once, %s",
            n < 100 ? (int)n : 100, s, form);
}

sy_status sy_optimizer_group_parse(const char *text, struct sy_optimizer_group *out) {
    const char *colon = strrchr(text, ':'), *at = text;
    struct sy_optimizer_group g = {.lr = 1};
    bool has_lr = false;
    size_t n;
    if (!colon)
        SY_FAIL(SY_ERR_USAGE, "\"%.200s\" has no colon: a pattern of names, a colon, what holds for them, %s",
                text, form);
    trim(&at, colon, &n);
    if (n == 0 || n >= sizeof g.pattern)
        SY_FAIL(SY_ERR_USAGE, "\"%.200s\": a pattern of 1 to %d characters is needed, %s", text,
                SY_GROUP_PATTERN_BYTES - 1, form);
    memcpy(g.pattern, at, n);
    for (const char *s = colon + 1, *comma; s; s = comma ? comma + 1 : NULL) {
        comma = strchr(s, ',');
        SY_TRY(setting(s, comma ? comma : s + strlen(s), &g, &has_lr));
    }
    *out = g;
    return SY_OK;
}

bool sy_optimizer_group_has(const struct sy_optimizer_group *g, const char *name) {
    return fnmatch(g->pattern, name, 0) == 0;
}
