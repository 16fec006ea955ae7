/* Values as text: one option, the whole config as TOML. See config.h. */
#include "config/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

void sy_put(const struct sy_out *out, const char *text) { out->write(out->user, text, strlen(text)); }

void sy_putf(const struct sy_out *out, const char *fmt, ...) {
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    sy_put(out, text);
}

/* Words of `text`, broken so that no line is longer than `width`, each line after `prefix`. */
void sy_put_wrapped(const struct sy_out *out, const char *prefix, const char *text, int width) {
    int column = 0;
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (column && column + 1 + n > width) {
            sy_put(out, "\n");
            column = 0;
        }
        sy_put(out, column ? " " : prefix);
        column += column ? 1 : (int)strlen(prefix);
        out->write(out->user, text, (size_t)n);
        column += n;
        text += n + (text[n] == ' ');
    }
    sy_put(out, "\n");
}

void sy_put_string(const struct sy_out *out, const char *text, size_t n) {
    sy_put(out, "\"");
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            sy_putf(out, "\\%c", c);
        else if (c == '\n' || c == '\t')
            sy_put(out, c == '\n' ? "\\n" : "\\t");
        else if (c < 0x20 || c == 0x7f)
            sy_putf(out, "\\u%04X", c);
        else
            out->write(out->user, text + i, 1);
    }
    sy_put(out, "\"");
}

void sy_put_option(const struct sy_out *out, const struct sy_config *cfg, const struct sy_option *o) {
    char real[SY_TOML_REAL_BYTES];
    const void *at = sy_option_at(cfg, o);
    const char *text;
    int choice;
    switch (o->type) {
    case SY_OPTION_INT:
        sy_putf(out, "%lld", (long long)*(const int64_t *)at);
        break;
    case SY_OPTION_REAL:
        sy_toml_real_print(*(const double *)at, real);
        sy_put(out, real);
        break;
    case SY_OPTION_BOOL:
        sy_put(out, *(const bool *)at ? "true" : "false");
        break;
    case SY_OPTION_TEXT:
        text = *(const char *const *)at;
        sy_put_string(out, text, strlen(text));
        break;
    case SY_OPTION_CHOICE:
        memcpy(&choice, at, sizeof choice);
        sy_put_string(out, o->words[choice], strlen(o->words[choice]));
        break;
    case SY_OPTION_LIST: {
        const struct sy_config_list *list = at;
        sy_put(out, "[");
        for (int64_t i = 0; i < list->n; i++) {
            sy_put(out, i ? ", " : "");
            sy_put_string(out, list->items[i], strlen(list->items[i]));
        }
        sy_put(out, "]");
        break;
    }
    }
}

void sy_fixed_write(void *user, const char *text, size_t n) {
    struct sy_fixed *f = user;
    size_t room = f->size - 1 - f->n;
    memcpy(f->text + f->n, text, n < room ? n : room);
    f->n += n < room ? n : room;
    f->text[f->n] = 0;
}

void sy_config_print(const struct sy_config *cfg, sy_write_fn write, void *user) {
    struct sy_out out = {write, user};
    const char *section = "";
    for (int i = 0; i < sy_n_options; i++) {
        const struct sy_option *o = &sy_options[i];
        if (strcmp(section, o->section))
            sy_putf(&out, "%s[%s]\n", i ? "\n" : "", o->section);
        section = o->section;
        sy_putf(&out, "%s = ", strchr(o->key, '.') + 1);
        sy_put_option(&out, cfg, o);
        sy_put(&out, "\n");
    }
}

sy_status sy_config_get(struct sy_config *cfg, const char *key, const char **text) {
    char name[SY_KEY_BYTES];
    int i = sy_key_normalize(key, strlen(key), name) ? sy_option_find(name) : -1;
    if (i < 0)
        SY_FAIL(SY_ERR_USAGE, "%s: there is no such option: did you mean %s?", name, sy_option_nearest(name));
    struct sy_text value = {0};
    sy_put_option(&(struct sy_out){sy_text_write, &value}, cfg, &sy_options[i]);
    const char *kept = !sy_text_add(&value, "", 0) ? NULL : sy_config_keep(cfg, value.s, value.n);
    free(value.s);
    if (!kept)
        return sy_config_no_memory();
    *text = kept;
    return SY_OK;
}

sy_status sy_option_get(struct sy_config *cfg, const char *key, const char **text) {
    return sy_config_get(cfg, key, text);
}
