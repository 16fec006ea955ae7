/* Whether a page is well-formed and inert: each tag is one of those that the report has, closed in order; each
 * attribute one of its, in whole quotes; two scripts; nothing that a browser would fetch; no bare < or &.
 */
#ifndef TESTS_PAGE_CHECKS_H
#define TESTS_PAGE_CHECKS_H

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { PAGE_DEPTH = 64, PAGE_WORD = 32 };

struct page_tag {
    char name[PAGE_WORD];
    int closes, is_empty;
};

static const char *page_said(const char *what, const char *at) {
    static char said[300];
    snprintf(said, sizeof said, "%s at: %.100s", what, at);
    return said;
}

/* One of the words of a list that is separated by spaces. */
static int page_listed(const char *list, const char *word) {
    size_t n = strlen(word);
    for (const char *s = list; n && (s = strstr(s, word)); s += n)
        if ((s == list || s[-1] == ' ') && (s[n] == ' ' || !s[n]))
            return 1;
    return 0;
}

static size_t page_word(const char *s, char out[PAGE_WORD]) {
    size_t n = 0;
    while (isalnum((unsigned char)s[n]) || s[n] == '-')
        n++;
    snprintf(out, PAGE_WORD, "%.*s", (int)n, s);
    return n;
}

/* `name=value` at *s; a fault or NULL. */
static const char *page_attribute(const char **s) {
    static const char known[] = "lang charset http-equiv content name class id style aria-label aria-hidden "
                                "aria-labelledby tabindex role "
                                "viewBox preserveAspectRatio d src alt type for checked scope open title "
                                "data-low data-high data-curves "
                                "data-run data-layer data-rows";
    char name[PAGE_WORD];
    const char *from = *s;
    *s += page_word(*s, name);
    if (!page_listed(known, name))
        return page_said("an attribute that the report has not", from);
    if (**s != '=')
        return NULL;
    char quote = *++*s == '"' ? '"' : 0;
    const char *value = *s += quote == '"';
    while (**s && (quote ? **s != quote : !strchr(" >", **s))) {
        if (strchr("<>`", **s) || (!quote && strchr("\"'=", **s)))
            return page_said("a value with a bare character", from);
        ++*s;
    }
    if (!**s)
        return page_said("a value without an end", from);
    if (strcmp(name, "src") == 0 && strncmp(value, "data:image/png;base64,", 22) != 0)
        return page_said("something to fetch", from);
    *s += quote == '"';
    return **s && !strchr(" />", **s) ? page_said("something behind a value", from) : NULL;
}

/* The tag at *s, behind its <. */
static const char *page_tag_of(const char **s, struct page_tag *t) {
    static const char known[] =
        "html head meta title style body main header h1 h2 h3 h4 p dl div dt dd small code section figure "
        "figcaption "
        "span ul li input label svg path img details summary b i table thead tbody tr th td script footer br";
    const char *from = *s;
    t->closes = **s == '/';
    *s += t->closes;
    *s += page_word(*s, t->name);
    if (!page_listed(known, t->name))
        return page_said("a tag that the report has not", from);
    for (;;) {
        while (**s == ' ')
            ++*s;
        if (**s == '>' || **s == '/')
            break;
        const char *fault = page_attribute(s);
        if (fault)
            return fault;
    }
    t->is_empty = **s == '/' || page_listed("meta img input br", t->name);
    *s += **s == '/';
    return *(*s)++ == '>' ? NULL : page_said("a tag without an end", from);
}

static const char *page_entity(const char **s) {
    size_t n = strcspn(*s, ";");
    if (n > 6 || !(*s)[n])
        return page_said("a bare &", *s);
    *s += n + 1;
    return NULL;
}

/* What is wrong with a page; NULL: nothing. */
static const char *page_fault(const char *s) {
    char open[PAGE_DEPTH][PAGE_WORD];
    int depth = 0, scripts = 0;
    const char *fault;
    if (strncmp(s, "<!doctype html>", 15) == 0)
        s += 15;
    while (*s) {
        struct page_tag t;
        if (*s == '&' && (fault = page_entity(&s)))
            return fault;
        if (*s != '<') {
            if (*s == '>')
                return page_said("a bare >", s);
            s += *s != '&' && *s;
            continue;
        }
        s++;
        if ((fault = page_tag_of(&s, &t)))
            return fault;
        if (t.closes && (depth == 0 || strcmp(open[--depth], t.name) != 0))
            return page_said("closed out of order", s);
        if (t.closes || t.is_empty)
            continue;
        if (depth == PAGE_DEPTH)
            return page_said("too deep", s);
        snprintf(open[depth++], PAGE_WORD, "%s", t.name);
        int is_script = strcmp(t.name, "script") == 0;
        scripts += is_script;
        if (is_script || strcmp(t.name, "style") == 0) { /* raw text, to its end */
            s = strstr(s, is_script ? "</script" : "</style");
            if (!s)
                return "a script without an end";
        }
    }
    return depth ? page_said("not closed", open[depth - 1]) : scripts > 2 ? "more than two scripts" : NULL;
}

static void page_is_sound(const char *page) {
    const char *fault = page_fault(page);
    if (fault)
        fail_msg("the page has %s", fault);
}

/* Nothing in a style or a script that a browser would fetch. */
static inline void page_text_is_sound(const char *text) {
    static const char *const fetches[] = {"http",    "//cdn",     "@import", "url(",  "fetch(",
                                          "XMLHttp", "WebSocket", "import(", "eval(", "innerHTML"};
    for (size_t i = 0; i < sizeof fetches / sizeof *fetches; i++)
        assert_null(strstr(text, fetches[i]));
}

#endif
