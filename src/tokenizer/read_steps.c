/* normalizer and pre_tokenizer of tokenizer.json: see read.h. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"
#include "tokenizer/read.h"

#define NORMALIZERS "NFC, NFD, NFKC, NFKD, Prepend, Replace, Sequence, null"
#define PRE_TOKENIZERS "ByteLevel, Digits, Metaspace, Sequence, Split, null"

/* GPT-2's pattern, which ByteLevel has where use_regex is not false. */
#define BYTE_LEVEL_PATTERN \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* A list of steps that is being read. */
struct steps {
    struct sy_reading *r;
    struct sy_step *step;
    int *n;
    const char *of, *known; /* the list's name in the file; what may be in it */
    sy_status (*read)(struct steps *s, const char *where, const char *type, const json_t *value);
    int has_ended; /* nothing may follow */
};

static sy_status next_step(const struct steps *s, const char *where, enum sy_step_kind kind,
                           struct sy_step **out) {
    if (*s->n == SY_MAX_STEPS)
        SY_FAIL(SY_ERR_UNAVAILABLE, "%s: more than %d steps are not known here", where, SY_MAX_STEPS);
    *out = &s->step[(*s->n)++];
    (*out)->kind = kind;
    return SY_OK;
}

static sy_status copy_text(const char *where, const char *from, char **to, size_t *n) {
    *n = strlen(from);
    *to = sy_read_copy(from, *n);
    if (!*to)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", where);
    return SY_OK;
}

/* {"String": s} or {"Regex": s}. */
static sy_status read_pattern(const char *where, const json_t *value, struct sy_step *step) {
    const json_t *pattern = json_object_get(value, "pattern");
    const char *literal = json_string_value(json_object_get(pattern, "String"));
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    if (json_object_size(pattern) != 1 || (literal ? !*literal : !regex))
        return sy_read_unknown(where, "pattern", pattern, "{\"String\": text}, {\"Regex\": pattern}");
    if (literal)
        return copy_text(where, literal, &step->text, &step->text_bytes);
    return sy_regex_create(where, regex, &step->regex);
}

/* A value, or the values of a Sequence, in which there may be no other. */
static sy_status read_steps(struct steps *s, const char *where, const json_t *value, int depth) {
    const char *type = json_string_value(json_object_get(value, "type"));
    json_t *list = NULL;
    if (!type || depth > 4)
        return sy_read_unknown(where, "type", json_object_get(value, "type"), s->known);
    if (s->has_ended)
        SY_FAIL(SY_ERR_UNAVAILABLE, "%s: %s behind ByteLevel is not known here", where, type);
    if (strcmp(type, "Sequence") != 0)
        return s->read(s, where, type, value);
    SY_TRY(sy_json_get_array(where, value, s->of, &list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        char inner[SY_WHERE];
        snprintf(inner, sizeof inner, "%.440s.%s[%zu]", where, s->of, i);
        SY_TRY(read_steps(s, inner, json_array_get(list, i), depth + 1));
    }
    return SY_OK;
}

/* --- normalisers ------------------------------------------------------------------------------------ */

static int form_of(const char *type) {
    return strcmp(type, "NFC") == 0    ? UTF8PROC_STABLE | UTF8PROC_COMPOSE
           : strcmp(type, "NFD") == 0  ? UTF8PROC_STABLE | UTF8PROC_DECOMPOSE
           : strcmp(type, "NFKC") == 0 ? UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT
           : strcmp(type, "NFKD") == 0 ? UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT
                                       : 0;
}

static sy_status read_normal(struct steps *s, const char *where, const char *type, const json_t *value) {
    struct sy_step *step = NULL;
    const char *text = NULL;
    if (form_of(type)) {
        SY_TRY(sy_read_keys(where, value, " type "));
        SY_TRY(next_step(s, where, SY_STEP_FORM, &step));
        step->options = form_of(type);
        return SY_OK;
    }
    if (strcmp(type, "Prepend") == 0) {
        SY_TRY(sy_read_keys(where, value, " type prepend "));
        SY_TRY(sy_json_get_string(where, value, "prepend", &text));
        SY_TRY(next_step(s, where, SY_STEP_PREPEND, &step));
        return copy_text(where, text, &step->text, &step->text_bytes);
    }
    if (strcmp(type, "Replace") != 0)
        return sy_read_unknown(where, "type", json_object_get(value, "type"), s->known);
    SY_TRY(sy_read_keys(where, value, " type pattern content "));
    SY_TRY(sy_json_get_string(where, value, "content", &text));
    SY_TRY(next_step(s, where, SY_STEP_REPLACE, &step));
    SY_TRY(copy_text(where, text, &step->content, &step->content_bytes));
    return read_pattern(where, value, step);
}

sy_status sy_read_normalizer(struct sy_reading *r, const json_t *value) {
    char where[SY_WHERE];
    struct steps s = {.r = r,
                      .step = r->bpe->normalizer,
                      .n = &r->bpe->n_normalizers,
                      .of = "normalizers",
                      .known = NORMALIZERS,
                      .read = read_normal};
    snprintf(where, sizeof where, "%.400s: normalizer", r->name);
    return value && !json_is_null(value) ? read_steps(&s, where, value, 0) : SY_OK;
}

/* --- pre-tokenizers --------------------------------------------------------------------------------- */

static sy_status read_split(struct steps *s, const char *where, const json_t *value) {
    static const char *const words[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext",
                                        "Contiguous"};
    struct sy_step *step = NULL;
    const json_t *behavior = json_object_get(value, "behavior");
    const char *word = json_string_value(behavior);
    int which = 0;
    SY_TRY(sy_read_keys(where, value, " type pattern behavior invert "));
    while (word && which < 5 && strcmp(word, words[which]) != 0)
        which++;
    if (!word || which == 5)
        return sy_read_unknown(where, "behavior", behavior,
                               "Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous");
    SY_TRY(next_step(s, where, SY_STEP_SPLIT, &step));
    step->split = (enum sy_split)which;
    SY_TRY(sy_read_flag(where, value, "invert", 0, &step->invert));
    return read_pattern(where, value, step);
}

static sy_status read_digits(struct steps *s, const char *where, const json_t *value) {
    struct sy_step *step = NULL;
    int each = 0;
    SY_TRY(sy_read_keys(where, value, " type individual_digits "));
    SY_TRY(sy_read_flag(where, value, "individual_digits", 0, &each));
    SY_TRY(next_step(s, where, SY_STEP_SPLIT, &step));
    step->split = each ? SY_SPLIT_ISOLATED : SY_SPLIT_CONTIGUOUS;
    return sy_regex_create(where, "\\p{N}", &step->regex);
}

static sy_status read_byte_level(struct steps *s, const char *where, const json_t *value) {
    struct sy_step *step = NULL;
    int has_prefix = 1, has_regex = 1, trims;
    SY_TRY(sy_read_keys(where, value, " type add_prefix_space trim_offsets use_regex "));
    SY_TRY(sy_read_flag(where, value, "add_prefix_space", 1, &has_prefix));
    SY_TRY(sy_read_flag(where, value, "use_regex", 1, &has_regex));
    SY_TRY(sy_read_flag(where, value, "trim_offsets", 1, &trims));
    if (has_prefix)
        SY_TRY(next_step(s, where, SY_STEP_PREFIX, &step));
    if (has_regex) {
        SY_TRY(next_step(s, where, SY_STEP_SPLIT, &step));
        step->split = SY_SPLIT_ISOLATED;
        SY_TRY(sy_regex_create(where, BYTE_LEVEL_PATTERN, &step->regex));
    }
    s->r->bpe->byte_level = s->has_ended = 1;
    return SY_OK;
}

static sy_status read_scheme(const char *where, const json_t *value, enum sy_scheme *out) {
    const json_t *word = json_object_get(value, "prepend_scheme");
    const char *s = word && !json_is_null(word) ? json_string_value(word) : "always";
    int prefix = 1;
    SY_TRY(sy_read_flag(where, value, "add_prefix_space", 1, &prefix));
    if (!s || (strcmp(s, "always") != 0 && strcmp(s, "first") != 0 && strcmp(s, "never") != 0))
        return sy_read_unknown(where, "prepend_scheme", word, "always, first, never");
    *out = *s == 'n' || (!prefix && !word) ? SY_SCHEME_NEVER : *s == 'f' ? SY_SCHEME_FIRST : SY_SCHEME_ALWAYS;
    if (!prefix && *out != SY_SCHEME_NEVER)
        return sy_read_unknown(where, "prepend_scheme", word, "\"never\", where add_prefix_space is false");
    return SY_OK;
}

sy_status sy_read_metaspace(const char *where, const json_t *value, struct sy_step *step) {
    const char *mark = NULL;
    SY_TRY(sy_read_keys(where, value, " type replacement str_rep add_prefix_space prepend_scheme split "));
    SY_TRY(sy_json_get_string(where, value, "replacement", &mark));
    size_t n = strlen(mark), at = 0;
    if (n)
        sy_utf8_code(mark, n, &at);
    if (!n || at != n)
        return sy_read_unknown(where, "replacement", json_object_get(value, "replacement"), "one character");
    SY_TRY(sy_read_flag(where, value, "split", 1, &step->splits));
    SY_TRY(read_scheme(where, value, &step->scheme));
    return copy_text(where, mark, &step->text, &step->text_bytes);
}

static sy_status read_pre(struct steps *s, const char *where, const char *type, const json_t *value) {
    struct sy_step *step = NULL;
    if (strcmp(type, "Split") == 0)
        return read_split(s, where, value);
    if (strcmp(type, "Digits") == 0)
        return read_digits(s, where, value);
    if (strcmp(type, "ByteLevel") == 0)
        return read_byte_level(s, where, value);
    if (strcmp(type, "Metaspace") != 0)
        return sy_read_unknown(where, "type", json_object_get(value, "type"), s->known);
    SY_TRY(next_step(s, where, SY_STEP_METASPACE, &step));
    return sy_read_metaspace(where, value, step);
}

sy_status sy_read_pre_tokenizer(struct sy_reading *r, const json_t *value) {
    char where[SY_WHERE];
    struct steps s = {.r = r,
                      .step = r->bpe->pre,
                      .n = &r->bpe->n_pre,
                      .of = "pretokenizers",
                      .known = PRE_TOKENIZERS,
                      .read = read_pre};
    snprintf(where, sizeof where, "%.400s: pre_tokenizer", r->name);
    return value && !json_is_null(value) ? read_steps(&s, where, value, 0) : SY_OK;
}
