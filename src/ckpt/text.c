/* The values of a config one by one, from the text that sy_config_print makes: see text.h. One line of it
 * is one value. */
#include "ckpt/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

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
    struct sy_text text = {0};
    sy_config_print(config, sy_text_write, &text);
    sy_status status = SY_OK;
    if (text.failed || !text.s)
        status = sy_fail(SY_ERR_MEMORY, "out of memory for the config's text");
    else
        status = walk(text.s, fn, user);
    free(text.s);
    return status;
}

struct printing {
    struct sy_text out;
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
            sy_text_add(&p->out, "\n", 1);
        sy_text_add(&p->out, "[", 1);
        sy_text_add(&p->out, section, strlen(section));
        sy_text_add(&p->out, "]\n", 2);
        memcpy(p->section, section, sizeof section);
    }
    sy_text_add(&p->out, dot + 1, strlen(dot + 1));
    sy_text_add(&p->out, " = ", 3);
    sy_text_add(&p->out, text, strlen(text));
    sy_text_add(&p->out, "\n", 1);
    return p->out.failed ? sy_fail(SY_ERR_MEMORY, "out of memory for the config's text") : SY_OK;
}

sy_status sy_ckpt_config_text(const struct sy_config *config, char **out) {
    struct printing p = {0};
    sy_status status = sy_ckpt_config_walk(config, print_value, &p);
    if (status == SY_OK && !p.out.s)
        status = sy_fail(SY_ERR_RUNTIME, "the config has no text");
    if (status != SY_OK) {
        free(p.out.s);
        return status;
    }
    *out = p.out.s;
    return SY_OK;
}
