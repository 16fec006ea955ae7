/* Lines of the text alone: see jsonl_plain.h. */
#include "formats/jsonl_plain.h"

#include <string.h>

#include "base/utf8.h"

struct cursor {
    const char *at, *end;
};

static void skip_blanks(struct cursor *c) {
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\r'))
        c->at++;
}

static int take(struct cursor *c, char sign) {
    skip_blanks(c);
    return c->at < c->end && *c->at++ == sign;
}

static int take_key(struct cursor *c, const char *key) {
    size_t n = strlen(key);
    if (!take(c, '"') || (size_t)(c->end - c->at) <= n || memcmp(c->at, key, n) != 0 || c->at[n] != '"')
        return 0;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)key[i] < 0x20 || key[i] == '\\' || key[i] == '"')
            return 0;
    c->at += n + 1;
    return 1;
}

static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";

/* Up to the quote that ends it; NULL: not plain. */
static const char *end_of_string(const char *s, const char *end, int *has_escapes) {
    *has_escapes = 0;
    for (; s < end && *s != '"'; s++) {
        if ((unsigned char)*s < 0x20)
            return NULL;
        if (*s != '\\')
            continue;
        *has_escapes = 1;
        if (++s == end || !*s || !strchr(letters, *s))
            return NULL;
    }
    return s < end ? s : NULL;
}

static size_t unescape(char *s, size_t n) {
    const char *from = s, *end = s + n;
    char *to = s;
    while (from < end) {
        const char *escape = memchr(from, '\\', (size_t)(end - from));
        size_t plain = (size_t)((escape ? escape : end) - from);
        memmove(to, from, plain);
        to += plain;
        from += plain;
        if (escape) {
            *to++ = meanings[strchr(letters, from[1]) - letters];
            from += 2;
        }
    }
    return (size_t)(to - s);
}

int sy_jsonl_plain(char *line, size_t n, const char *key, const char **text, size_t *bytes) {
    struct cursor c = {line, line + n};
    int has_escapes;
    if (!take(&c, '{') || !take_key(&c, key) || !take(&c, ':') || !take(&c, '"'))
        return 0;
    char *begin = line + (c.at - line);
    const char *end = end_of_string(c.at, c.end, &has_escapes);
    if (!end)
        return 0;
    c.at = end + 1;
    int is_closed = take(&c, '}');
    skip_blanks(&c);
    size_t m = (size_t)(end - begin);
    if (!is_closed || c.at != c.end || sy_utf8_span(line, n) != n)
        return 0;
    *text = begin;
    *bytes = has_escapes ? unescape(begin, m) : m;
    begin[*bytes] = 0; /* at most where the quote was */
    return 1;
}
