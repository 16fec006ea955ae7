/* Normalisers and pre-tokenizers: see steps.h. */
#include "tokenizer/steps.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

void sy_step_fini(struct sy_step *step) {
    sy_regex_destroy(step->regex);
    free(step->text);
    free(step->content);
    *step = (struct sy_step){0};
}

void sy_stepping_fini(struct sy_stepping *s) {
    sy_matcher_destroy(s->matcher);
    free(s->normal[0].s);
    free(s->normal[1].s);
    for (int i = 0; i < SY_MAX_STEPS; i++)
        free(s->piece[i].s);
    *s = (struct sy_stepping){0};
}

static sy_status filled(const struct sy_text *text) {
    if (text->failed)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for %zu bytes of text", text->n);
    return SY_OK;
}

static void restart(struct sy_text *text) {
    text->n = 0;
    text->failed = 0;
}

/* The next match of a step's pattern from byte `from` on. */
static sy_status find(const struct sy_step *step, struct sy_stepping *s, const char *text, size_t n,
                      size_t from, int *found, size_t *start, size_t *end) {
    if (step->regex)
        return sy_regex_find(step->regex, s->matcher, text, n, from, found, start, end);
    const char *at = n - from < step->text_bytes
                         ? NULL
                         : (const char *)memmem(text + from, n - from, step->text, step->text_bytes);
    *found = at != NULL;
    if (at) {
        *start = (size_t)(at - text);
        *end = *start + step->text_bytes;
    }
    return SY_OK;
}

/* --- normalisers ---------------------------------------------------------------------------------- */

/* Below U+0300 every text is in its composed form, and below U+0080 in every form. */
static int is_plain(const char *text, size_t n, unsigned char below) {
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] >= below)
            return 0;
    return 1;
}

static sy_status form(const struct sy_step *step, const char *text, size_t n, struct sy_text *out) {
    utf8proc_uint8_t *made = NULL;
    utf8proc_ssize_t length = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)n, &made,
                                           (utf8proc_option_t)step->options);
    if (length < 0)
        SY_FAIL(length == UTF8PROC_ERROR_NOMEM ? SY_ERR_MEMORY : SY_ERR_DATA,
                "the normal form of %zu bytes of text: %s", n, utf8proc_errmsg(length));
    sy_text_add(out, (const char *)made, (size_t)length);
    free(made);
    return filled(out);
}

static sy_status replace(const struct sy_step *step, struct sy_stepping *s, const char *text, size_t n,
                         struct sy_text *out) {
    size_t at = 0, start = 0, end = 0;
    for (int found = 1; at < n;) {
        SY_TRY(find(step, s, text, n, at, &found, &start, &end));
        if (!found)
            break;
        sy_text_add(out, text + at, start - at);
        sy_text_add(out, step->content, step->content_bytes);
        at = end;
    }
    sy_text_add(out, text + at, n - at);
    return filled(out);
}

sy_status sy_normalize(const struct sy_step *step, int n_steps, struct sy_stepping *s, const char **text,
                       size_t *n) {
    int turn = 0;
    for (int i = 0; i < n_steps; i++, step++) {
        struct sy_text *out = &s->normal[turn];
        int composes = (step->options & UTF8PROC_COMPOSE) && !(step->options & UTF8PROC_COMPAT);
        if (*n == 0 || (step->kind == SY_STEP_FORM && is_plain(*text, *n, composes ? 0xcc : 0x80)))
            continue;
        restart(out);
        if (step->kind == SY_STEP_FORM) {
            SY_TRY(form(step, *text, *n, out));
        } else if (step->kind == SY_STEP_PREPEND) {
            sy_text_add(out, step->text, step->text_bytes);
            sy_text_add(out, *text, *n);
            SY_TRY(filled(out));
        } else {
            SY_TRY(replace(step, s, *text, *n, out));
        }
        *text = out->s;
        *n = out->n;
        turn = !turn;
    }
    return SY_OK;
}

/* --- pre-tokenizers ------------------------------------------------------------------------------- */

static sy_status run(const struct sy_pieces *p, int k, const char *text, size_t n, int at_start);

/* The parts of a text as they are found, of which some are put together. */
struct parts {
    const struct sy_pieces *p;
    int k; /* the step that gets them */
    const char *text;
    int at_start;
    size_t start, end; /* what waits; start == end: nothing does */
    int was_match, any;
};

static sy_status emit(struct parts *w) {
    size_t start = w->start, end = w->end;
    w->start = w->end;
    if (start == end)
        return SY_OK;
    return run(w->p, w->k, w->text + start, end - start, w->at_start && start == 0);
}

/* Whether a part belongs to the one that waits. */
static int joins(const struct parts *w, enum sy_split split, int is_match) {
    if (split == SY_SPLIT_CONTIGUOUS)
        return is_match == w->was_match;
    if (split == SY_SPLIT_PREVIOUS)
        return is_match && !w->was_match;
    return split == SY_SPLIT_NEXT && !is_match && w->was_match;
}

static sy_status take_part(struct parts *w, const struct sy_step *step, size_t start, size_t end,
                           int is_match) {
    is_match ^= step->invert;
    if (!w->any || !joins(w, step->split, is_match)) {
        SY_TRY(emit(w));
        w->start = start;
    }
    w->end = end;
    w->any = 1;
    w->was_match = is_match;
    if (step->split == SY_SPLIT_REMOVED && is_match)
        w->start = end;
    return SY_OK;
}

static sy_status split(const struct sy_pieces *p, const struct sy_step *step, struct parts *w, size_t n) {
    size_t at = 0, start = 0, end = 0;
    for (int found = 1; at < n; at = end) {
        SY_TRY(find(step, p->stepping, w->text, n, at, &found, &start, &end));
        if (!found)
            break;
        if (start > at)
            SY_TRY(take_part(w, step, at, start, 0));
        SY_TRY(take_part(w, step, start, end, 1));
    }
    if (at < n)
        SY_TRY(take_part(w, step, at, n, 0));
    return emit(w);
}

static sy_status prefix(const struct sy_pieces *p, int k, const char *text, size_t n, int at_start) {
    struct sy_text *out = &p->stepping->piece[k];
    if (text[0] == ' ')
        return run(p, k + 1, text, n, at_start);
    restart(out);
    sy_text_add(out, " ", 1);
    sy_text_add(out, text, n);
    SY_TRY(filled(out));
    return run(p, k + 1, out->s, out->n, at_start);
}

static void metaspace_text(const struct sy_step *step, const char *text, size_t n, int at_start,
                           struct sy_text *out) {
    int begins = n >= step->text_bytes && memcmp(text, step->text, step->text_bytes) == 0;
    int wanted = step->scheme == SY_SCHEME_ALWAYS || (step->scheme == SY_SCHEME_FIRST && at_start);
    restart(out);
    if (wanted && text[0] != ' ' && !begins)
        sy_text_add(out, step->text, step->text_bytes);
    for (const char *end = text + n, *space; text < end; text = space + 1) {
        space = memchr(text, ' ', (size_t)(end - text));
        sy_text_add(out, text, (size_t)((space ? space : end) - text));
        if (!space)
            break;
        sy_text_add(out, step->text, step->text_bytes);
    }
}

static sy_status metaspace(const struct sy_pieces *p, int k, const char *text, size_t n, int at_start) {
    const struct sy_step *step = &p->step[k];
    struct sy_text *out = &p->stepping->piece[k];
    metaspace_text(step, text, n, at_start, out);
    SY_TRY(filled(out));
    if (!step->splits)
        return run(p, k + 1, out->s, out->n, at_start);
    struct sy_step at_text = {
        .kind = SY_STEP_SPLIT, .split = SY_SPLIT_NEXT, .text = step->text, .text_bytes = step->text_bytes};
    struct parts w = {.p = p, .k = k + 1, .text = out->s, .at_start = at_start};
    return split(p, &at_text, &w, out->n);
}

static sy_status run(const struct sy_pieces *p, int k, const char *text, size_t n, int at_start) {
    if (k == p->n_steps)
        return p->fn(p->user, text, n);
    const struct sy_step *step = &p->step[k];
    if (step->kind == SY_STEP_PREFIX)
        return prefix(p, k, text, n, at_start);
    if (step->kind == SY_STEP_METASPACE)
        return metaspace(p, k, text, n, at_start);
    struct parts w = {.p = p, .k = k + 1, .text = text, .at_start = at_start};
    return split(p, step, &w, n);
}

sy_status sy_split_text(const struct sy_pieces *p, const char *text, size_t n, int at_start) {
    return n ? run(p, 0, text, n, at_start) : SY_OK;
}
