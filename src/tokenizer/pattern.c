/* A pattern of Oniguruma's Ruby syntax, in pcre2's: see regex.h. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/utf8.h"
#include "tokenizer/regex.h"

/* White_Space of Unicode (PropList.txt), and what \w is: both inside of brackets. */
#define SPACE                                                                                            \
    "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{" \
    "3000}"
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#if PCRE2_MAJOR > 10 || PCRE2_MINOR >= 40
#define SCRIPT "sc:" /* without it, Script_Extensions */
#else
#define SCRIPT ""
#endif

enum { MAX_GROUPS = 64 };

struct translating {
    const char *where, *pattern;
    const char *at; /* what is read next */
    struct sy_text *out;
    int in_class, class_begins;
    int n_groups;
    char caseless[MAX_GROUPS]; /* of each open group; [0]: outside of all */
};

static void put(struct translating *t, const char *s) { sy_text_add(t->out, s, strlen(s)); }

static sy_status no(const struct translating *t, const char *from, const char *why) {
    SY_FAIL(SY_ERR_UNAVAILABLE, "%s: the pattern's \"%.12s\" (byte %zu) has no translation: %s", t->where,
            from, (size_t)(from - t->pattern), why);
}

static int hex_digits(const char *s) {
    int n = 0;
    while (n < 8 && isxdigit((unsigned char)s[n]))
        n++;
    return n;
}

/* \p{…} and \P{…}: general categories as they are, all else is a script. */
static sy_status property(struct translating *t, const char *from) {
    static const char *const longer[][2] = {{"Letter", "L"},      {"Mark", "M"},   {"Number", "N"},
                                            {"Punctuation", "P"}, {"Symbol", "S"}, {"Separator", "Z"}};
    const char *name = t->at + 1, *end = *t->at == '{' ? strchr(name, '}') : NULL;
    if (!end || end - name > 40)
        return no(t, from, "a property is \\p{Name}");
    int negated = *name == '^';
    size_t n = (size_t)(end - name) - (size_t)negated;
    char text[64], word[48];
    snprintf(word, sizeof word, "%.*s", (int)n, name + negated);
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)word[i]) && word[i] != '_')
            return no(t, from, "a property is \\p{Name}");
    for (size_t i = 0; i < sizeof longer / sizeof *longer; i++)
        if (strcmp(word, longer[i][0]) == 0)
            snprintf(word, sizeof word, "%s", longer[i][1]);
    if (t->caseless[t->n_groups] && word[0] == 'L' && word[1])
        return no(t, from, "of one case, where case does not matter");
    snprintf(text, sizeof text, "\\%c{%s%s%s}", from[1], negated ? "^" : "", strlen(word) > 2 ? SCRIPT : "",
             word);
    put(t, text);
    t->at = end + 1;
    return SY_OK;
}

/* \xHH below 0x80, \x{…}, \uHHHH. */
static sy_status number(struct translating *t, const char *from) {
    char text[24], digits[8] = "";
    const char *s = t->at + (*t->at == '{');
    int n = hex_digits(s), braces = *t->at == '{';
    int most = braces ? 6 : from[1] == 'u' ? 4 : 2;
    n = n > most && !braces ? most : n;
    if (n < 1 || n > 6 || (braces && (s[n] != '}' || from[1] == 'u')) || (!braces && n != most))
        return no(t, from, "characters by number are \\xHH, \\x{H…} and \\uHHHH");
    memcpy(digits, s, (size_t)n);
    if (!braces && most == 2 && strtol(digits, NULL, 16) > 0x7f)
        return no(t, from, "a byte of a character");
    snprintf(text, sizeof text, "\\x{%s}", digits);
    put(t, text);
    t->at = s + n + braces;
    return SY_OK;
}

static sy_status class_of(struct translating *t, const char *from, int negated, const char *set) {
    if (negated && t->in_class)
        return no(t, from, "a negated class inside of brackets");
    put(t, t->in_class ? "" : negated ? "[^" : "[");
    put(t, set);
    put(t, t->in_class ? "" : "]");
    return SY_OK;
}

static sy_status escape(struct translating *t) {
    const char *from = t->at;
    char c = from[1];
    if (!c)
        return no(t, from, "the pattern ends there");
    t->at += 2;
    switch (c) {
    case 's':
    case 'S':
        return class_of(t, from, c == 'S', SPACE);
    case 'w':
    case 'W':
        return class_of(t, from, c == 'W', WORD);
    case 'p':
    case 'P':
        return property(t, from);
    case 'x':
    case 'u':
        return number(t, from);
    case 'v':
        put(t, "\\x0b");
        return SY_OK;
    case 'A':
    case 'z':
        if (t->in_class)
            return no(t, from, "no such escape inside of brackets");
        break;
    default:
        if (isalnum((unsigned char)c) && !strchr("dnrtfea", c))
            return no(t, from, "another escape");
    }
    sy_text_add(t->out, from, 2);
    return SY_OK;
}

static sy_status open_group(struct translating *t) {
    static const char *const known[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"};
    const char *from = t->at;
    if (t->n_groups + 1 == MAX_GROUPS)
        return no(t, from, "more than 63 groups inside of each other");
    if (strncmp(from, "(?i)", 4) == 0 && from == t->pattern) {
        t->caseless[0] = 1;
        put(t, "(?i)");
        t->at += 4;
        return SY_OK;
    }
    size_t n = from[1] == '?' ? 0 : 1;
    for (size_t i = 0; n == 0 && i < sizeof known / sizeof *known; i++)
        if (strncmp(from, known[i], strlen(known[i])) == 0)
            n = strlen(known[i]);
    if (n == 0 || (n == 1 && from[1] == '*'))
        return no(t, from, "another kind of group");
    t->caseless[t->n_groups + 1] = t->caseless[t->n_groups] || strncmp(from, "(?i:", 4) == 0;
    t->n_groups++;
    sy_text_add(t->out, from, n);
    t->at += n;
    return SY_OK;
}

/* {n}, {n,}, {n,m}; other braces are themselves. */
static sy_status brace(struct translating *t) {
    const char *from = t->at, *s = from + 1;
    if (*s == ',' && isdigit((unsigned char)s[1]))
        return no(t, from, "write {0,n}");
    int digits = 0;
    for (; isdigit((unsigned char)*s); s++)
        digits++;
    s += digits && *s == ',';
    while (digits && isdigit((unsigned char)*s))
        s++;
    if (!digits || *s != '}') {
        put(t, "\\{");
        t->at++;
        return SY_OK;
    }
    if (s[1] == '+' || s[1] == '?')
        return no(t, from, "a repetition by number, possessive or lazy");
    sy_text_add(t->out, from, (size_t)(s + 1 - from));
    t->at = s + 1;
    return SY_OK;
}

static sy_status in_class(struct translating *t) {
    char c = *t->at;
    int begins = t->class_begins;
    t->class_begins = 0;
    if (c == '\\')
        return escape(t);
    if (c == '[' || (c == ']' && begins) || (c == '&' && t->at[1] == '&'))
        return no(t, t->at, "brackets inside of brackets; write \\[ or \\] for the character");
    if (c == ']')
        t->in_class = 0;
    t->class_begins = c == '^' && begins;
    sy_text_add(t->out, t->at++, 1);
    return SY_OK;
}

static sy_status outside(struct translating *t) {
    switch (*t->at) {
    case '\\':
        return escape(t);
    case '(':
        return open_group(t);
    case ')':
        t->n_groups -= t->n_groups > 0;
        break;
    case '{':
        return brace(t);
    case '[':
        t->in_class = t->class_begins = 1;
    }
    sy_text_add(t->out, t->at++, 1);
    return SY_OK;
}

sy_status sy_pattern_translate(const char *where, const char *pattern, struct sy_text *out) {
    struct translating t = {.where = where, .pattern = pattern, .at = pattern, .out = out};
    size_t n = strlen(pattern);
    if (n > 1 << 16 || sy_utf8_span(pattern, n) != n)
        SY_FAIL(SY_ERR_DATA, "%s: a pattern of %zu bytes, or not UTF-8", where, n);
    sy_text_add(out, "", 0);
    while (*t.at)
        SY_TRY(t.in_class ? in_class(&t) : outside(&t));
    if (out->failed)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory for a pattern", where);
    return SY_OK;
}
