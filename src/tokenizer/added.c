/* Added tokens: see added.h. */
#include "tokenizer/added.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"

static int32_t child_of(struct sy_trie *t, int32_t parent, unsigned char byte) {
    for (int32_t c = t->node[parent].child; c; c = t->node[c].sibling)
        if (t->node[c].byte == byte)
            return c;
    if (t->n == t->capacity) {
        int32_t capacity = t->capacity < INT32_MAX / 2 ? 2 * t->capacity : INT32_MAX;
        struct sy_trie_node *larger =
            t->n == INT32_MAX ? NULL : realloc(t->node, (size_t)capacity * sizeof *larger);
        if (!larger)
            return 0;
        t->node = larger;
        t->capacity = capacity;
    }
    t->node[t->n] = (struct sy_trie_node){0, t->node[parent].child, -1, byte};
    t->node[parent].child = t->n;
    return t->n++;
}

/* Of two with one text, the later has it. */
static int insert(struct sy_trie *t, const struct sy_added *a, int32_t i) {
    int32_t at = 0;
    for (size_t k = 0; k < a->looked_for_bytes; k++) {
        at = child_of(t, at, (unsigned char)a->looked_for[k]);
        if (!at)
            return 0;
    }
    t->node[at].added = i;
    return 1;
}

int sy_trie_init(struct sy_trie *t, const struct sy_added *added, int32_t n, int normalized) {
    *t = (struct sy_trie){.node = malloc(64 * sizeof *t->node), .n = 1, .capacity = 64, .only = -1};
    if (!t->node)
        return 0;
    t->node[0] = (struct sy_trie_node){0, 0, -1, 0};
    for (int32_t i = 0; i < n; i++)
        if (added[i].normalized == normalized && added[i].looked_for_bytes > 0 && !insert(t, &added[i], i))
            return 0;
    int n_first = 0;
    for (int32_t c = t->node[0].child; c; c = t->node[c].sibling) {
        t->first[t->node[c].byte] = c;
        t->only = n_first++ ? -1 : t->node[c].byte;
    }
    return 1;
}

void sy_trie_free(struct sy_trie *t) {
    free(t->node);
    *t = (struct sy_trie){0};
}

/* --- what a character is -------------------------------------------------------------------------- */

static int is_space(uint32_t c) {
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
           c == 0x3000;
}

/* Alphabetic, a mark, a decimal digit, a connector or a joiner; circled letters are Alphabetic and symbols. */
static int is_word(uint32_t c) {
    if (c == 0x200c || c == 0x200d || (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
        (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189))
        return 1;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) ||
           category == UTF8PROC_CATEGORY_PC;
}

static uint32_t code_before(const char *text, size_t at, size_t *start) {
    *start = sy_utf8_start(text, at - 1);
    size_t next = *start;
    return sy_utf8_code(text, at, &next);
}

static int stands_alone(const char *text, size_t n, size_t start, size_t end) {
    size_t at = end, before;
    return (start == 0 || !is_word(code_before(text, start, &before))) &&
           (end == n || !is_word(sy_utf8_code(text, n, &at)));
}

/* --- finding -------------------------------------------------------------------------------------- */

static int32_t longest(const struct sy_trie *t, const char *text, size_t n, size_t from, size_t *end) {
    int32_t found = -1, at = t->first[(unsigned char)text[from]];
    for (size_t i = from; at; i++) {
        if (t->node[at].added >= 0) {
            found = t->node[at].added;
            *end = i + 1;
        }
        int32_t next = i + 1 < n ? t->node[at].child : 0;
        while (next && t->node[next].byte != (unsigned char)text[i + 1])
            next = t->node[next].sibling;
        at = next;
    }
    return found;
}

/* The next byte that one may begin with; n: there is none. */
static size_t next_start(const struct sy_trie *t, const char *text, size_t n, size_t from) {
    if (t->only >= 0) {
        const char *at = from < n ? memchr(text + from, t->only, n - from) : NULL;
        return at ? (size_t)(at - text) : n;
    }
    while (from < n && !t->first[(unsigned char)text[from]])
        from++;
    return from;
}

int sy_added_find(const struct sy_trie *t, const struct sy_added *added, const char *text, size_t n,
                  size_t from, size_t done, struct sy_found *found) {
    if (t->n <= 1)
        return 0;
    for (size_t at = next_start(t, text, n, from), end = 0; at < n; at = next_start(t, text, n, at)) {
        int32_t i = longest(t, text, n, at, &end);
        if (i < 0) {
            at++;
            continue;
        }
        if (added[i].single_word && !stands_alone(text, n, at, end)) {
            at = end;
            continue;
        }
        *found = (struct sy_found){i, at, end, end};
        for (size_t before; added[i].lstrip && found->start > 0; found->start = before)
            if (!is_space(code_before(text, found->start, &before)))
                break;
        found->start = found->start < done && done <= at ? done : found->start;
        for (size_t next = end; added[i].rstrip && next < n; found->end = next)
            if (!is_space(sy_utf8_code(text, n, &next)))
                break;
        return 1;
    }
    return 0;
}
