/* The values of a config one by one, from the text that sy_config_print makes: see text.h. One line of it is one value. */
#include "ckpt/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct growing {
    char *text;
    size_t n, capacity;
    int failed;
};

static void grow(void *user, const char *text, size_t n) {
    struct growing *g = user;
    if (!g->failed && g->n + n + 1 > g->capacity) {
        size_t capacity = 2 * (g->n + n + 1);
        char *larger = realloc(g->text, capacity);
        g->failed = !larger;
        g->text = larger ? larger : g->text;
        g->capacity = larger ? capacity : g->capacity;
    }
    if (g->failed)
        return;
    memcpy(g->text + g->n, text, n);
    g->n += n;
    g->text[g->n] = 0;
}

static enum sy_config_effect effect_of(const char *key) {
    enum sy_config_effect effect = SY_EFFECT_LAYOUT;
    const char *other;
    for (int i = 0; (other = sy_config_key(i, &effect)); i++)
        if (strcmp(other, key) == 0)
            return effect;
    return SY_EFFECT_LAYOUT;
}

/* Lines are "[section]", "key = value" or empty; the text is cut up in place. */
static sy_status walk(char *text, sy_ckpt_value_fn fn, void *user) {
    char section[64] = "", key[192];
    for (char *line = text, *end; *line; line = end) {
        end = line + strcspn(line, "\n");
        if (*end)
            *end++ = 0;
        char *equals = strstr(line, " = ");
        if (*line == '[') {
            snprintf(section, sizeof section, "%.*s", (int)strcspn(line + 1, "]"), line + 1);
        } else if (equals) {
            *equals = 0;
            snprintf(key, sizeof key, "%s.%.100s", section, line);
            SY_TRY(fn(user, key, effect_of(key), equals + 3));
        }
    }
    return SY_OK;
}

sy_status sy_ckpt_config_walk(const struct sy_config *config, sy_ckpt_value_fn fn, void *user) {
    struct growing g = {0};
    sy_config_print(config, grow, &g);
    sy_status status = SY_OK;
    if (g.failed || !g.text)
        status = sy_fail(SY_ERR_MEMORY, "out of memory for the config's text");
    else
        status = walk(g.text, fn, user);
    free(g.text);
    return status;
}

struct printing {
    struct growing out;
    char section[64];
};

static sy_status print_value(void *user, const char *key, enum sy_config_effect effect, const char *text) {
    struct printing *p = user;
    char section[64];
    const char *dot = strchr(key, '.');
    if (effect == SY_EFFECT_LAYOUT || !dot)
        return SY_OK;
    snprintf(section, sizeof section, "%.*s", (int)(dot - key), key);
    if (strcmp(section, p->section) != 0) {
        if (p->out.n)
            grow(&p->out, "\n", 1);
        grow(&p->out, "[", 1);
        grow(&p->out, section, strlen(section));
        grow(&p->out, "]\n", 2);
        memcpy(p->section, section, sizeof section);
    }
    grow(&p->out, dot + 1, strlen(dot + 1));
    grow(&p->out, " = ", 3);
    grow(&p->out, text, strlen(text));
    grow(&p->out, "\n", 1);
    return p->out.failed ? sy_fail(SY_ERR_MEMORY, "out of memory for the config's text") : SY_OK;
}

sy_status sy_ckpt_config_text(const struct sy_config *config, char **out) {
    struct printing p = {0};
    sy_status status = sy_ckpt_config_walk(config, print_value, &p);
    if (status == SY_OK && !p.out.text)
        status = sy_fail(SY_ERR_RUNTIME, "the config has no text");
    if (status != SY_OK) {
        free(p.out.text);
        return status;
    }
    *out = p.out.text;
    return SY_OK;
}
