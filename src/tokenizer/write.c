/* Writing a byte-level tokenizer: see write.h. */
#include "tokenizer/write.h"

#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "tokenizer/alphabet.h"
#include "tokenizer/tokenizer.h"

/* The spelling of every id, as a JSON string. */
struct spelling {
    json_t **of; /* by id; NULL: none */
    int32_t n;
    int ok;
};

static void spell(struct spelling *s, int32_t id, struct sy_text *text) {
    s->of[id] = text->failed ? NULL : json_stringn(text->s, text->n);
    s->ok &= s->of[id] != NULL;
    text->n = 0;
}

static void spell_all(const struct sy_written_bpe *w, struct spelling *s) {
    struct sy_text text = {0};
    for (int b = 0; b < 256; b++) {
        char byte = (char)b;
        sy_alphabet_from_bytes(&byte, 1, &text);
        spell(s, w->byte_id[b], &text);
    }
    for (int32_t i = 0; i < w->n_special; i++) {
        sy_text_add(&text, w->special[i], strlen(w->special[i]));
        spell(s, w->first_special + i, &text);
    }
    for (int32_t i = 0; i < w->n_made && s->ok; i++) {
        const struct sy_made *made = &w->made[i];
        if (s->of[made->into])
            continue;
        sy_text_add(&text, json_string_value(s->of[made->left]), json_string_length(s->of[made->left]));
        sy_text_add(&text, json_string_value(s->of[made->right]), json_string_length(s->of[made->right]));
        spell(s, made->into, &text);
    }
    free(text.s);
}

static json_t *vocab_of(const struct spelling *s) {
    json_t *vocab = json_object();
    for (int32_t id = 0; vocab && id < s->n; id++) {
        if (s->of[id] && json_object_set_new(vocab, json_string_value(s->of[id]), json_integer(id)) != 0) {
            json_decref(vocab);
            return NULL;
        }
    }
    return vocab;
}

static json_t *merges_of(const struct sy_written_bpe *w, const struct spelling *s) {
    json_t *merges = json_array();
    for (int32_t i = 0; merges && i < w->n_made; i++) {
        json_t *both = json_pack("[O, O]", s->of[w->made[i].left], s->of[w->made[i].right]);
        if (json_array_append_new(merges, both) != 0) {
            json_decref(merges);
            return NULL;
        }
    }
    return merges;
}

static json_t *added_of(const struct sy_written_bpe *w) {
    json_t *added = json_array();
    for (int32_t i = 0; added && i < w->n_special; i++)
        if (json_array_append_new(added,
                                  json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", w->first_special + i,
                                            "content", w->special[i], "single_word", 0, "lstrip", 0, "rstrip",
                                            0, "normalized", 0, "special", 1)) != 0) {
            json_decref(added);
            return NULL;
        }
    return added;
}

static json_t *pre_of(const struct sy_written_bpe *w) {
    json_t *bytes = json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                              "trim_offsets", 1, "use_regex", 0);
    if (!w->pattern)
        return bytes;
    return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, o]}", "type", "Sequence", "pretokenizers", "type",
                     "Split", "pattern", "Regex", w->pattern, "behavior", "Isolated", "invert", 0, bytes);
}

/* The BOS goes before a text, as in training; nothing goes behind it. */
static json_t *post_of(const struct sy_written_bpe *w) {
    if (w->bos < 0)
        return json_null();
    const char *bos = w->special[w->bos];
    return json_pack("{s:s, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}], s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}, "
                     "{s:{s:s, s:i}}], s:{s:{s:s, s:[i], s:[s]}}}",
                     "type", "TemplateProcessing", "single", "SpecialToken", "id", bos, "type_id", 0,
                     "Sequence", "id", "A", "type_id", 0, "pair", "SpecialToken", "id", bos, "type_id", 0,
                     "Sequence", "id", "A", "type_id", 0, "Sequence", "id", "B", "type_id", 0,
                     "special_tokens", bos, "id", bos, "ids", w->first_special + w->bos, "tokens", bos);
}

static json_t *normalizer_of(const struct sy_written_bpe *w) {
    return w->form ? json_pack("{s:s}", "type", w->form) : json_null();
}

static json_t *json_of(const struct sy_written_bpe *w, const struct spelling *s) {
    json_t *model =
        json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
                  "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
                  "ignore_merges", 0, "vocab", vocab_of(s), "merges", merges_of(w, s));
    return json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:{s:s, s:b, s:b, s:b}, s:o}", "version", "1.0",
                     "truncation", "padding", "added_tokens", added_of(w), "normalizer", normalizer_of(w),
                     "pre_tokenizer", pre_of(w), "post_processor", post_of(w), "decoder", "type", "ByteLevel",
                     "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 0, "model", model);
}

static sy_status print(json_t *value, struct sy_text *out) {
    char *text = NULL;
    size_t bytes = 0;
    sy_status status = value ? sy_json_print(value, SY_JSON_INDENT, &text, &bytes)
                             : sy_fail(SY_ERR_MEMORY, "out of memory for a tokenizer.json");
    if (status == SY_OK)
        sy_text_add(out, text, bytes);
    free(text);
    json_decref(value);
    if (status == SY_OK && out->failed)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for a tokenizer.json");
    return status;
}

/* `byte_ids` is how a byte tokenizer's folder is known again. */
static sy_status write_config(const struct sy_written_bpe *w, struct sy_text *config) {
    json_t *value = json_pack(
        "{s:s, s:b, s:s?, s:s?, s:s?}", "tokenizer_class", "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces", 0, "bos_token", w->bos < 0 ? NULL : w->special[w->bos], "eos_token",
        w->eos < 0 ? NULL : w->special[w->eos], "pad_token", w->pad < 0 ? NULL : w->special[w->pad]);
    if (value && w->n_made == 0 && json_object_set_new(value, "byte_ids", json_integer(256)) != 0) {
        json_decref(value);
        value = NULL;
    }
    return print(value, config);
}

sy_status sy_write_tokenizer(const struct sy_written_bpe *w, struct sy_text *json, struct sy_text *config) {
    struct spelling s = {.n = w->n_ids, .ok = 1};
    s.of = calloc((size_t)s.n, sizeof(json_t *));
    if (!s.of)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for %d tokens", s.n);
    spell_all(w, &s);
    sy_status status = s.ok ? print(json_of(w, &s), json)
                            : sy_fail(SY_ERR_MEMORY, "out of memory for the names of %d tokens", s.n);
    for (int32_t id = 0; id < s.n; id++)
        json_decref(s.of[id]);
    free(s.of);
    SY_TRY(status);
    return write_config(w, config);
}

/* --- the byte tokenizer's --------------------------------------------------------------------------- */

static const char *const byte_special[] = {"<|bos|>", "<|eos|>", "<|pad|>"};

const char *sy_byte_token_name(int32_t id) { return byte_special[id - SY_TOKEN_BOS]; }

sy_status sy_write_byte_tokenizer(struct sy_text *json, struct sy_text *config) {
    int32_t byte_id[256];
    for (int32_t b = 0; b < 256; b++)
        byte_id[b] = b;
    struct sy_written_bpe w = {.byte_id = byte_id,
                               .n_ids = SY_TOKEN_BYTE_IDS,
                               .special = byte_special,
                               .n_special = 3,
                               .first_special = SY_TOKEN_BOS,
                               .bos = 0,
                               .eos = 1,
                               .pad = 2};
    return sy_write_tokenizer(&w, json, config);
}
