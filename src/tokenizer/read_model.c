/* model and added_tokens of tokenizer.json: see read.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer/read.h"

static sy_status add_token(const struct sy_reading *r, const char *s, size_t n, int32_t id) {
    switch (sy_strings_add(&r->bpe->vocab, id, s, n)) {
    case SY_STRINGS_ADDED:
        return SY_OK;
    case SY_STRINGS_TWICE:
        SY_FAIL(SY_ERR_DATA, "%s: the token \"%.100s\" is there twice", r->name, s);
    case SY_STRINGS_ID_TWICE:
        SY_FAIL(SY_ERR_DATA, "%s: the token \"%.100s\" has id %" PRId32 ", as another has", r->name, s, id);
    default:
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory for %d tokens", r->name, (int)r->bpe->vocab.n_used);
    }
}

static sy_status read_vocab(const struct sy_reading *r, const json_t *vocab) {
    char where[SY_WHERE];
    const char *key;
    json_t *value;
    snprintf(where, sizeof where, "%.400s: model.vocab", r->name);
    json_object_foreach((json_t *)vocab, key, value) {
        int64_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || id >= SY_TOKENIZER_MAX_IDS)
            SY_FAIL(SY_ERR_DATA, "%s: the id of \"%.100s\" must be a whole number from 0 to %d", where, key,
                    SY_TOKENIZER_MAX_IDS - 1);
        SY_TRY(add_token(r, key, strlen(key), (int32_t)id));
    }
    return SY_OK;
}

/* --- merges ----------------------------------------------------------------------------------------- */

/* "left right", or ["left", "right"]; *left NULL: neither. */
static void sides(const json_t *value, const char **left, size_t *n_left, const char **right) {
    *left = *right = NULL;
    if (json_is_array(value) && json_array_size(value) == 2) {
        *left = json_string_value(json_array_get(value, 0));
        *right = json_string_value(json_array_get(value, 1));
        *n_left = *left ? strlen(*left) : 0;
    } else if (json_is_string(value)) {
        const char *s = json_string_value(value), *space = strchr(s, ' ');
        *left = space ? s : NULL;
        *right = space && !strchr(space + 1, ' ') ? space + 1 : NULL;
        *n_left = space ? (size_t)(space - s) : 0;
    }
    if (!*right)
        *left = NULL;
}

static sy_status read_merge(const struct sy_reading *r, const json_t *value, size_t i, struct sy_text *both) {
    const char *left, *right;
    size_t n = 0;
    sides(value, &left, &n, &right);
    if (!left)
        SY_FAIL(SY_ERR_DATA, "%s: model.merges[%zu] must be \"left right\" or [\"left\", \"right\"]", r->name,
                i);
    both->n = 0;
    sy_text_add(both, left, n);
    sy_text_add(both, right, strlen(right));
    if (both->failed)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory for a merge", r->name);
    const struct sy_strings *vocab = &r->bpe->vocab;
    int32_t a = sy_strings_find(vocab, left, n), b = sy_strings_find(vocab, right, strlen(right));
    int32_t into = sy_strings_find(vocab, both->s, both->n);
    if (a < 0 || b < 0 || into < 0)
        SY_FAIL(SY_ERR_DATA, "%s: model.merges[%zu] = \"%.*s\" + \"%.100s\": %s is no token of model.vocab",
                r->name, i, (int)(n < 100 ? n : 100), left, right,
                a < 0   ? "the left"
                : b < 0 ? "the right"
                        : "their sum");
    sy_merges_put(&r->bpe->merges, a, b, (uint32_t)i, into);
    return SY_OK;
}

static sy_status read_merges(const struct sy_reading *r, const json_t *merges) {
    struct sy_text both = {0};
    sy_status status = SY_OK;
    if (!sy_merges_init(&r->bpe->merges, (int64_t)json_array_size(merges)))
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory for %zu merges", r->name, json_array_size(merges));
    for (size_t i = 0; i < json_array_size(merges) && status == SY_OK; i++) {
        const json_t *value = json_array_get(merges, i);
        if (json_is_string(value) && strncmp(json_string_value(value), "#version", 8) == 0)
            continue;
        status = read_merge(r, value, i, &both);
    }
    free(both.s);
    return status;
}

/* --- model ------------------------------------------------------------------------------------------ */

static sy_status read_unk(const struct sy_reading *r, const char *where, const json_t *model) {
    const json_t *value = json_object_get(model, "unk_token");
    if (!value || json_is_null(value) || r->bpe->byte_level)
        return SY_OK;
    const char *s = json_string_value(value);
    r->bpe->unk = s ? sy_strings_find(&r->bpe->vocab, s, strlen(s)) : -1;
    return r->bpe->unk < 0 ? sy_read_unknown(where, "unk_token", value, "a token of model.vocab") : SY_OK;
}

/* Values that change nothing. */
static sy_status refuse_values(const char *where, const json_t *model) {
    static const char *const empty[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const json_t *dropout = json_object_get(model, "dropout");
    if (dropout && !json_is_null(dropout) && json_number_value(dropout) != 0)
        return sy_read_unknown(where, "dropout", dropout, "null");
    for (int i = 0; i < 2; i++) {
        const json_t *value = json_object_get(model, empty[i]);
        if (value && !json_is_null(value) && (!json_is_string(value) || *json_string_value(value)))
            return sy_read_unknown(where, empty[i], value, "null, \"\"");
    }
    return SY_OK;
}

sy_status sy_read_model(struct sy_reading *r, const json_t *model) {
    char where[SY_WHERE];
    json_t *vocab, *merges;
    const json_t *type = json_object_get(model, "type");
    snprintf(where, sizeof where, "%.400s: model", r->name);
    if (type && (!json_is_string(type) || strcmp(json_string_value(type), "BPE") != 0))
        return sy_read_unknown(where, "type", type, "\"BPE\"");
    SY_TRY(sy_read_keys(where, model,
                        " type dropout unk_token continuing_subword_prefix end_of_word_suffix fuse_unk "
                        "byte_fallback ignore_merges vocab merges "));
    SY_TRY(refuse_values(where, model));
    SY_TRY(sy_read_flag(where, model, "fuse_unk", 0, &r->bpe->fuse_unk));
    SY_TRY(sy_read_flag(where, model, "byte_fallback", 0, &r->bpe->byte_fallback));
    SY_TRY(sy_read_flag(where, model, "ignore_merges", 0, &r->bpe->ignore_merges));
    SY_TRY(sy_json_get_object(where, model, "vocab", &vocab));
    SY_TRY(sy_json_get_array(where, model, "merges", &merges));
    if (json_object_size(vocab) == 0)
        SY_FAIL(SY_ERR_DATA, "%s.vocab: no tokens", where);
    SY_TRY(read_vocab(r, vocab));
    SY_TRY(read_merges(r, merges));
    return read_unk(r, where, model);
}

/* --- added tokens ----------------------------------------------------------------------------------- */

/* The id that a new token gets: behind the model's tokens and the added ones so far. */
static int32_t next_id(const struct sy_bpe *bpe, int32_t n_model) {
    int32_t next = n_model;
    for (int32_t i = 0; i < bpe->n_added; i++)
        next = bpe->added[i].id >= next ? bpe->added[i].id + 1 : next;
    return next;
}

static sy_status name_added(struct sy_reading *r, const char *where, struct sy_added *a, int32_t next) {
    struct sy_bpe *bpe = r->bpe;
    int32_t known = sy_strings_find(&bpe->vocab, a->text, a->text_bytes);
    int32_t must = known >= 0 ? known : next;
    if (a->id != must)
        SY_FAIL(SY_ERR_DATA, "%s: \"%.100s\" has id %" PRId32 ", its place is %" PRId32, where, a->text,
                a->id, must);
    return known >= 0 ? SY_OK : add_token(r, a->text, a->text_bytes, a->id);
}

static sy_status read_one(struct sy_reading *r, const char *where, const json_t *value, struct sy_added *a) {
    int64_t id = 0;
    const char *text = NULL;
    SY_TRY(sy_json_get_int(where, value, "id", 0, SY_TOKENIZER_MAX_IDS - 1, &id));
    SY_TRY(sy_json_get_string(where, value, "content", &text));
    SY_TRY(sy_read_keys(where, value, " id content single_word lstrip rstrip normalized special "));
    SY_TRY(sy_read_flag(where, value, "special", 0, &a->special));
    SY_TRY(sy_read_flag(where, value, "normalized", !a->special, &a->normalized));
    SY_TRY(sy_read_flag(where, value, "lstrip", 0, &a->lstrip));
    SY_TRY(sy_read_flag(where, value, "rstrip", 0, &a->rstrip));
    SY_TRY(sy_read_flag(where, value, "single_word", 0, &a->single_word));
    if (!*text)
        SY_FAIL(SY_ERR_DATA, "%s.content is empty", where);
    a->id = (int32_t)id;
    a->text_bytes = strlen(text);
    a->text = sy_read_copy(text, a->text_bytes);
    if (!a->text)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", r->name);
    return SY_OK;
}

sy_status sy_read_added(struct sy_reading *r, const json_t *list) {
    struct sy_bpe *bpe = r->bpe;
    size_t n = json_array_size(list);
    int32_t n_model = bpe->vocab.n_used, next = next_id(bpe, n_model);
    if (list && !json_is_null(list) && !json_is_array(list))
        SY_FAIL(SY_ERR_DATA, "%s: added_tokens must be an array", r->name);
    bpe->added = calloc(n + 1, sizeof *bpe->added);
    if (!bpe->added)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory for %zu added tokens", r->name, n);
    for (size_t i = 0; i < n; i++) {
        char where[SY_WHERE];
        struct sy_added *a = &bpe->added[bpe->n_added++];
        snprintf(where, sizeof where, "%.400s: added_tokens[%zu]", r->name, i);
        SY_TRY(read_one(r, where, json_array_get(list, i), a));
        SY_TRY(name_added(r, where, a, next));
        next = a->id >= next ? a->id + 1 : next;
    }
    return SY_OK;
}
