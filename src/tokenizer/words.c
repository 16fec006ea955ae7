/* A word to ids: its characters or bytes, merged. Words met before are looked up.
 *
 * The table of words is direct-mapped, a cache line each: words of up to KEY bytes that gave up to IDS ids;
 * the last one with a hash has the line.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/utf8.h"
#include "tokenizer/model.h"

enum { LINES = 1 << 15, KEY = 30, IDS = 8, CUT_FROM = 16 };

struct line {
    uint8_t length, n_ids; /* 0: free */
    char key[KEY];
    int32_t id[IDS];
};

struct sy_words {
    const struct sy_bpe *bpe;
    struct sy_merging merging;
    void *memory;
    struct line *line; /* in it, at a multiple of a cache line */
};

sy_status sy_words_create(const struct sy_bpe *bpe, struct sy_words **out) {
    struct sy_words *w = calloc(1, sizeof *w);
    if (w)
        w->memory = calloc(LINES + 1, sizeof *w->line); /* of which only what is used becomes real */
    if (!w || !w->memory) {
        sy_words_destroy(w);
        SY_FAIL(SY_ERR_MEMORY, "out of memory for a table of words");
    }
    w->line =
        (struct line *)(((uintptr_t)w->memory + sizeof *w->line - 1) & ~(uintptr_t)(sizeof *w->line - 1));
    w->bpe = bpe;
    *out = w;
    return SY_OK;
}

void sy_words_destroy(struct sy_words *w) {
    if (!w)
        return;
    sy_merging_free(&w->merging);
    free(w->memory);
    free(w);
}

/* Characters that are no token: their bytes, or `unk` for each, or for a row of them. */
static void add_unknown(const struct sy_bpe *bpe, struct sy_merging *m, const char *s, size_t n,
                        int *was_unk) {
    if (bpe->byte_fallback) {
        for (size_t i = 0; i < n; i++)
            m->id[m->n++] = bpe->byte_id[(unsigned char)s[i]];
        return;
    }
    if (!*was_unk || !bpe->fuse_unk)
        m->id[m->n++] = bpe->unk;
    *was_unk = 1;
}

static void add_characters(const struct sy_bpe *bpe, struct sy_merging *m, const char *text, size_t n) {
    int was_unk = 0;
    for (size_t at = 0, start = 0; at < n; start = at) {
        unsigned char c = (unsigned char)text[at];
        int32_t id;
        if (c < 0x80) {
            id = bpe->ascii_id[c];
            at++;
        } else {
            sy_utf8_code(text, n, &at);
            id = sy_strings_find(&bpe->vocab, text + start, at - start);
        }
        if (id < 0) {
            add_unknown(bpe, m, text + start, at - start, &was_unk);
            continue;
        }
        m->id[m->n++] = id;
        was_unk = 0;
    }
}

static sy_status merge(struct sy_words *w, const char *text, size_t n) {
    struct sy_merging *m = &w->merging;
    m->n = 0;
    if (!sy_merging_reach(m, n))
        SY_FAIL(SY_ERR_MEMORY, "out of memory for a word of %zu bytes", n);
    if (w->bpe->byte_level)
        for (size_t i = 0; i < n; i++)
            m->id[m->n++] = w->bpe->byte_id[(unsigned char)text[i]];
    else
        add_characters(w->bpe, m, text, n);
    sy_merge_word(&w->bpe->merges, m);
    return SY_OK;
}

static sy_status add_word(struct sy_words *w, const char *text, size_t n, struct sy_tokens *out) {
    struct line *line = NULL;
    if (n <= KEY) {
        line = &w->line[XXH3_64bits(text, n) & (LINES - 1)];
        if (line->length == n && memcmp(line->key, text, n) == 0) {
            sy_tokens_add(out, line->id, line->n_ids);
            return SY_OK;
        }
    }
    SY_TRY(merge(w, text, n));
    const struct sy_merging *m = &w->merging;
    sy_tokens_add(out, m->id, m->n);
    if (line && m->n <= IDS) {
        line->length = (uint8_t)n;
        line->n_ids = (uint8_t)m->n;
        memcpy(line->key, text, n);
        memcpy(line->id, m->id, m->n * sizeof *m->id);
    }
    return SY_OK;
}

/* A word of many bytes in which no merge reaches over the beginning of a row of SY_METASPACE: cut there. */
static sy_status add_cut(struct sy_words *w, const char *text, size_t n, struct sy_tokens *out) {
    static const size_t mark = sizeof SY_METASPACE - 1;
    size_t start = 0, at = 0;
    while (at < n) {
        while (n - at >= mark && memcmp(text + at, SY_METASPACE, mark) == 0)
            at += mark;
        const char *next = at < n ? memmem(text + at, n - at, SY_METASPACE, mark) : NULL;
        at = next ? (size_t)(next - text) : n;
        SY_TRY(add_word(w, text + start, at - start, out));
        start = at;
    }
    return SY_OK;
}

sy_status sy_words_add(struct sy_words *w, const char *text, size_t n, struct sy_tokens *out) {
    const struct sy_bpe *bpe = w->bpe;
    if (bpe->ignore_merges) {
        int32_t id = sy_strings_find(&bpe->pieces, text, n);
        if (id >= 0) {
            sy_tokens_add(out, &id, 1);
            return SY_OK;
        }
    }
    return bpe->cuts_at_space && n >= CUT_FROM ? add_cut(w, text, n, out) : add_word(w, text, n, out);
}
