/* post_processor and decoder of tokenizer.json: see read.h. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer/read.h"

/* --- post-processor: what it puts around a text ------------------------------------------------------ */

static void note(const json_t *id, int is_before, struct sy_bpe *bpe) {
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= bpe->vocab.n)
        return;
    if (is_before)
        bpe->template_bos = bpe->template_bos < 0 ? (int32_t)json_integer_value(id) : bpe->template_bos;
    else
        bpe->template_eos = (int32_t)json_integer_value(id);
}

/* "single": [{"SpecialToken": {"id": name, …}}, {"Sequence": {"id": "A", …}}, …] */
static sy_status read_template(const char *where, const json_t *value, struct sy_bpe *bpe) {
    json_t *single = NULL, *item;
    size_t i;
    int is_before = 1;
    SY_TRY(sy_json_get_array(where, value, "single", &single));
    const json_t *tokens = json_object_get(value, "special_tokens");
    json_array_foreach(single, i, item) {
        const char *name = json_string_value(json_object_get(json_object_get(item, "SpecialToken"), "id"));
        if (json_object_get(item, "Sequence"))
            is_before = 0;
        else if (name)
            note(json_array_get(json_object_get(json_object_get(tokens, name), "ids"), 0), is_before, bpe);
        else
            return sy_read_unknown(where, "single", item, "SpecialToken, Sequence");
    }
    return SY_OK;
}

static sy_status read_processor(const char *where, const json_t *value, struct sy_bpe *bpe, int depth) {
    const char *type = json_string_value(json_object_get(value, "type"));
    json_t *list = NULL;
    if (!type || depth > 4)
        return sy_read_unknown(where, "type", json_object_get(value, "type"), "an object with a type");
    if (strcmp(type, "ByteLevel") == 0) /* which trims offsets, and there are none here */
        return SY_OK;
    if (strcmp(type, "TemplateProcessing") == 0)
        return read_template(where, value, bpe);
    if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0) {
        note(json_array_get(json_object_get(value, "cls"), 1), 1, bpe);
        note(json_array_get(json_object_get(value, "sep"), 1), 0, bpe);
        return SY_OK;
    }
    if (strcmp(type, "Sequence") != 0)
        return sy_read_unknown(
            where, "type", json_object_get(value, "type"),
            "BertProcessing, ByteLevel, RobertaProcessing, Sequence, TemplateProcessing, null");
    SY_TRY(sy_json_get_array(where, value, "processors", &list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        char inner[SY_WHERE];
        snprintf(inner, sizeof inner, "%.440s.processors[%zu]", where, i);
        SY_TRY(read_processor(inner, json_array_get(list, i), bpe, depth + 1));
    }
    return SY_OK;
}

sy_status sy_read_post_processor(struct sy_reading *r, const json_t *value) {
    char where[SY_WHERE];
    snprintf(where, sizeof where, "%.400s: post_processor", r->name);
    return value && !json_is_null(value) ? read_processor(where, value, r->bpe, 0) : SY_OK;
}

/* --- decoder ---------------------------------------------------------------------------------------- */

#define DECODERS "ByteLevel, Metaspace, Sequence of Replace, ByteFallback, Fuse, Strip in this order"

static sy_status copy(const char *where, const char *from, char **to) {
    free(*to);
    *to = sy_read_copy(from, strlen(from));
    if (!*to)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", where);
    return SY_OK;
}

static sy_status read_replace(const char *where, const json_t *value, struct sy_bpe *bpe) {
    const json_t *pattern = json_object_get(value, "pattern");
    const char *from = json_string_value(json_object_get(pattern, "String")), *to = NULL;
    SY_TRY(sy_json_get_string(where, value, "content", &to));
    if (!from || !*from || json_object_size(pattern) != 1)
        return sy_read_unknown(where, "pattern", pattern, "{\"String\": text}");
    SY_TRY(copy(where, from, &bpe->from));
    return copy(where, to, &bpe->to);
}

static sy_status read_strip(const char *where, const json_t *value, struct sy_bpe *bpe) {
    const char *content = NULL;
    int64_t start = 0, stop = 0;
    SY_TRY(sy_json_get_string(where, value, "content", &content));
    SY_TRY(sy_json_get_int(where, value, "start", 0, 1 << 16, &start));
    SY_TRY(sy_json_get_int(where, value, "stop", 0, 1 << 16, &stop));
    if (stop != 0)
        return sy_read_unknown(where, "stop", json_object_get(value, "stop"), "0");
    if (strcmp(content, " ") != 0)
        return sy_read_unknown(where, "content", json_object_get(value, "content"), "\" \"");
    bpe->strip = (int)start;
    return SY_OK;
}

/* One of a Sequence; `stage` only grows: Replace 1, ByteFallback 2, Fuse 3, Strip 4. */
static sy_status read_part(const char *where, const json_t *value, struct sy_bpe *bpe, int *stage) {
    static const char *const words[] = {"Replace", "ByteFallback", "Fuse", "Strip"};
    const char *type = json_string_value(json_object_get(value, "type"));
    int which = 0;
    while (type && which < 4 && strcmp(type, words[which]) != 0)
        which++;
    if (!type || which < *stage || which == 4 || (which == 3 && *stage != 3))
        return sy_read_unknown(where, "type", json_object_get(value, "type"), DECODERS);
    *stage = which + 1;
    if (which == 0)
        return read_replace(where, value, bpe);
    return which == 3 ? read_strip(where, value, bpe) : SY_OK;
}

static sy_status read_sequence(const char *where, const json_t *value, struct sy_bpe *bpe) {
    json_t *list = NULL;
    int stage = 0, has_fallback = 0;
    SY_TRY(sy_json_get_array(where, value, "decoders", &list));
    bpe->decoding = SY_DECODE_REPLACED;
    for (size_t i = 0; i < json_array_size(list); i++) {
        char inner[SY_WHERE];
        snprintf(inner, sizeof inner, "%.440s.decoders[%zu]", where, i);
        SY_TRY(read_part(inner, json_array_get(list, i), bpe, &stage));
        has_fallback |= stage == 2;
    }
    if (bpe->byte_level || has_fallback != bpe->byte_fallback)
        SY_FAIL(SY_ERR_UNAVAILABLE, "%s: %s is not known here", where,
                bpe->byte_level ? "a Sequence beside a ByteLevel pre_tokenizer"
                : has_fallback  ? "ByteFallback without model.byte_fallback"
                                : "no ByteFallback beside model.byte_fallback");
    return SY_OK;
}

static sy_status read_metaspace_decoder(const char *where, const json_t *value, struct sy_bpe *bpe) {
    struct sy_step step = {0};
    sy_status status = sy_read_metaspace(where, value, &step);
    if (status == SY_OK)
        status = copy(where, step.text, &bpe->from);
    if (status == SY_OK)
        status = copy(where, " ", &bpe->to);
    bpe->decoding = SY_DECODE_METASPACE;
    bpe->drops_first = step.scheme != SY_SCHEME_NEVER;
    sy_step_fini(&step);
    if (status == SY_OK && (bpe->byte_level || bpe->byte_fallback))
        SY_FAIL(SY_ERR_UNAVAILABLE, "%s: Metaspace beside %s is not known here", where,
                bpe->byte_level ? "a ByteLevel pre_tokenizer" : "model.byte_fallback");
    return status;
}

sy_status sy_read_decoder(struct sy_reading *r, const json_t *value) {
    char where[SY_WHERE];
    snprintf(where, sizeof where, "%.400s: decoder", r->name);
    json_t *list = json_object_get(value, "decoders");
    const char *type = json_string_value(json_object_get(value, "type"));
    if (type && strcmp(type, "Sequence") == 0 && json_array_size(list) == 1 && r->bpe->byte_level)
        return sy_read_decoder(r, json_array_get(list, 0));
    if (!type)
        return sy_read_unknown(where, "type", json_object_get(value, "type"), DECODERS);
    if (strcmp(type, "Sequence") == 0)
        return read_sequence(where, value, r->bpe);
    if (strcmp(type, "Metaspace") == 0)
        return read_metaspace_decoder(where, value, r->bpe);
    if (strcmp(type, "ByteLevel") != 0)
        return sy_read_unknown(where, "type", json_object_get(value, "type"), DECODERS);
    if (!r->bpe->byte_level)
        SY_FAIL(SY_ERR_UNAVAILABLE, "%s: ByteLevel without a ByteLevel pre_tokenizer is not known here",
                where);
    r->bpe->decoding = SY_DECODE_BYTES;
    return SY_OK;
}
