/* tokenizer.json as a whole: see model.h and read.h. */
#include "tokenizer/read.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "tokenizer/alphabet.h"

sy_status sy_read_unknown(const char *where, const char *key, const json_t *value, const char *known) {
    char *text = value ? sy_json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    sy_status status = sy_fail(SY_ERR_UNAVAILABLE, "%s.%s = %.120s: not known here; known: %s", where, key,
                               text ? text : "nothing", known);
    free(text);
    return status;
}

sy_status sy_read_keys(const char *where, const json_t *object, const char *known) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        char word[64];
        snprintf(word, sizeof word, " %.60s ", key);
        if (!strstr(known, word) && !json_is_null(value))
            return sy_read_unknown(where, key, value, known);
    }
    return SY_OK;
}

sy_status sy_read_flag(const char *where, const json_t *object, const char *key, int otherwise, int *out) {
    const json_t *value = json_object_get(object, key);
    *out = otherwise;
    if (!value || json_is_null(value))
        return SY_OK;
    if (!json_is_boolean(value))
        return sy_read_unknown(where, key, value, "true, false");
    *out = json_is_true(value);
    return SY_OK;
}

char *sy_read_copy(const char *s, size_t n) {
    char *copy = malloc(n + 1);
    if (copy) {
        memcpy(copy, s, n);
        copy[n] = 0;
    }
    return copy;
}

/* --- what follows from what was read ---------------------------------------------------------------- */

static sy_status no_memory(const struct sy_reading *r) {
    SY_FAIL(SY_ERR_MEMORY, "%s: out of memory for a tokenizer of %d tokens", r->name, (int)r->bpe->vocab.n);
}

/* The byte of "<0xHH>", or -1. */
static int byte_of(const char *s, size_t n) {
    char *end, digits[3] = {0};
    if (n != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>')
        return -1;
    memcpy(digits, s + 3, 2);
    long byte = strtol(digits, &end, 16);
    return end == digits + 2 && digits[0] != '+' && digits[0] != '-' && digits[0] != ' ' ? (int)byte : -1;
}

/* Every text must have tokens: what a byte or an unknown character becomes. */
static sy_status find_bytes(const struct sy_reading *r) {
    struct sy_bpe *bpe = r->bpe;
    for (int b = 0; b < 256; b++) {
        char s[16];
        size_t n = bpe->byte_level ? sy_utf8_put((uint32_t)sy_alphabet_code((unsigned char)b), s)
                                   : (size_t)snprintf(s, sizeof s, "<0x%02X>", (unsigned)b);
        bpe->byte_id[b] = sy_strings_find(&bpe->vocab, s, n);
        int occurs = b < 0xc0 || (b > 0xc1 && b < 0xf5); /* in UTF-8 */
        if (bpe->byte_id[b] < 0 && occurs && (bpe->byte_level || bpe->byte_fallback))
            SY_FAIL(SY_ERR_UNAVAILABLE,
                    "%s: model.vocab has no token for byte 0x%02x (\"%.*s\"): texts would lose it", r->name,
                    (unsigned)b, (int)n, s);
    }
    for (int c = 0; c < 128; c++)
        bpe->ascii_id[c] = sy_strings_find(&bpe->vocab, &(char){(char)c}, 1);
    if (!bpe->byte_level && !bpe->byte_fallback && bpe->unk < 0)
        SY_FAIL(SY_ERR_UNAVAILABLE,
                "%s: model.unk_token = null without byte_fallback: texts would lose the characters that "
                "are no tokens",
                r->name);
    return SY_OK;
}

static sy_status find_pieces(const struct sy_reading *r) {
    struct sy_bpe *bpe = r->bpe;
    struct sy_text bytes = {0};
    for (int32_t id = 0; bpe->ignore_merges && id < bpe->vocab.n; id++) {
        size_t n = 0;
        const char *s = sy_strings_get(&bpe->vocab, id, &n);
        bytes.n = 0;
        if (!s || (bpe->byte_level && !sy_alphabet_to_bytes(s, n, &bytes)))
            continue;
        if (sy_strings_add(&bpe->pieces, id, bpe->byte_level ? bytes.s : s, bpe->byte_level ? bytes.n : n) ==
            SY_STRINGS_NO_MEMORY)
            bytes.failed = 1;
    }
    free(bytes.s);
    return bytes.failed ? no_memory(r) : SY_OK;
}

/* Whether no merge makes a token with a SY_METASPACE behind another character. */
static int cuts_at_space(const struct sy_bpe *bpe) {
    static const size_t mark = sizeof SY_METASPACE - 1;
    if (bpe->byte_level || sy_strings_find(&bpe->vocab, SY_METASPACE, mark) < 0)
        return 0;
    for (uint64_t i = 0; i < bpe->merges.n_slots; i++) {
        size_t n = 0;
        int32_t id = bpe->merges.slot[i].into;
        const char *s = id < 0 ? NULL : sy_strings_get(&bpe->vocab, id, &n);
        for (size_t at = 1; s && at + mark <= n; at++)
            if (memcmp(s + at, SY_METASPACE, mark) == 0 &&
                (at < mark || memcmp(s + at - mark, SY_METASPACE, mark) != 0))
                return 0;
    }
    return 1;
}

static void add_replaced(const struct sy_bpe *bpe, const char *s, size_t n, struct sy_text *out) {
    size_t from = bpe->from ? strlen(bpe->from) : 0;
    for (size_t at = 0; at < n;) {
        int found = from && n - at >= from && memcmp(s + at, bpe->from, from) == 0;
        if (found)
            sy_text_add(out, bpe->to, strlen(bpe->to));
        else
            sy_text_add(out, s + at, 1);
        at += found ? from : 1;
    }
}

static void add_decoded(const struct sy_bpe *bpe, const char *s, size_t n, struct sy_text *out) {
    int byte = bpe->decoding == SY_DECODE_REPLACED && bpe->byte_fallback ? byte_of(s, n) : -1;
    if (byte >= 0)
        sy_text_add(out, &(char){(char)byte}, 1);
    else if (bpe->decoding != SY_DECODE_BYTES)
        add_replaced(bpe, s, n, out);
    else if (!sy_alphabet_to_bytes(s, n, out))
        sy_text_add(out, s, n);
}

const char *sy_bpe_spelling(const struct sy_bpe *bpe, int32_t id, size_t *n) {
    if (bpe->added_of[id] < 0)
        return sy_strings_get(&bpe->vocab, id, n);
    *n = bpe->added[bpe->added_of[id]].looked_for_bytes;
    return bpe->added[bpe->added_of[id]].looked_for;
}

static sy_status decode_each(const struct sy_reading *r) {
    struct sy_bpe *bpe = r->bpe;
    bpe->n_ids = bpe->vocab.n;
    bpe->decoded_at = calloc((size_t)bpe->n_ids + 1, sizeof *bpe->decoded_at);
    bpe->added_of = malloc(((size_t)bpe->n_ids + 1) * sizeof *bpe->added_of);
    if (!bpe->decoded_at || !bpe->added_of)
        return no_memory(r);
    memset(bpe->added_of, -1, ((size_t)bpe->n_ids + 1) * sizeof *bpe->added_of);
    for (int32_t i = 0; i < bpe->n_added; i++)
        bpe->added_of[bpe->added[i].id] = i;
    sy_text_add(&bpe->decoded, "", 0);
    for (int32_t id = 0; id < bpe->n_ids; id++) {
        size_t n = 0;
        const char *s = sy_bpe_spelling(bpe, id, &n);
        if (s)
            add_decoded(bpe, s, n, &bpe->decoded);
        bpe->decoded_at[id + 1] = bpe->decoded.n;
    }
    return bpe->decoded.failed ? no_memory(r) : SY_OK;
}

/* What each added token is looked for as. */
static sy_status normalize_added(const struct sy_reading *r) {
    struct sy_bpe *bpe = r->bpe;
    struct sy_stepping stepping = {0};
    sy_status status = sy_matcher_create(&stepping.matcher);
    for (int32_t i = 0; status == SY_OK && i < bpe->n_added; i++) {
        struct sy_added *a = &bpe->added[i];
        const char *text = a->text;
        size_t n = a->text_bytes;
        if (a->normalized)
            status = sy_normalize(bpe->normalizer, bpe->n_normalizers, &stepping, &text, &n);
        if (status != SY_OK)
            break;
        a->looked_for = sy_read_copy(text, n);
        a->looked_for_bytes = n;
        if (!a->looked_for)
            status = no_memory(r);
    }
    sy_stepping_fini(&stepping);
    if (status == SY_OK && (!sy_trie_init(&bpe->raw, bpe->added, bpe->n_added, 0) ||
                            !sy_trie_init(&bpe->normal, bpe->added, bpe->n_added, 1)))
        status = no_memory(r);
    return status;
}

/* --- the file --------------------------------------------------------------------------------------- */

static sy_status read_all(struct sy_reading *r, const json_t *root) {
    json_t *model = NULL;
    SY_TRY(sy_read_keys(r->name, root,
                        " version truncation padding added_tokens normalizer pre_tokenizer post_processor "
                        "decoder model "));
    const json_t *version = json_object_get(root, "version");
    if (version && (!json_is_string(version) || strcmp(json_string_value(version), "1.0") != 0))
        return sy_read_unknown(r->name, "version", version, "\"1.0\"");
    SY_TRY(sy_json_get_object(r->name, root, "model", &model));
    SY_TRY(sy_read_pre_tokenizer(r, json_object_get(root, "pre_tokenizer")));
    SY_TRY(sy_read_model(r, model));
    SY_TRY(find_bytes(r));
    SY_TRY(find_pieces(r));
    r->bpe->cuts_at_space = cuts_at_space(r->bpe);
    SY_TRY(sy_read_normalizer(r, json_object_get(root, "normalizer")));
    SY_TRY(sy_read_added(r, json_object_get(root, "added_tokens")));
    SY_TRY(sy_read_decoder(r, json_object_get(root, "decoder")));
    SY_TRY(sy_read_post_processor(r, json_object_get(root, "post_processor")));
    SY_TRY(normalize_added(r));
    return decode_each(r);
}

sy_status sy_bpe_parse(const char *name, const char *json, size_t bytes, struct sy_bpe **out) {
    json_t *root = NULL;
    SY_TRY(sy_json_parse(name, json, bytes, 0, &root));
    struct sy_reading r = {.name = name, .bpe = calloc(1, sizeof *r.bpe)};
    if (!r.bpe) {
        json_decref(root);
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", name);
    }
    r.bpe->unk = r.bpe->template_bos = r.bpe->template_eos = -1;
    sy_status status = read_all(&r, root);
    json_decref(root);
    if (status != SY_OK) {
        sy_bpe_destroy(r.bpe);
        return status;
    }
    *out = r.bpe;
    return SY_OK;
}

void sy_bpe_destroy(struct sy_bpe *bpe) {
    if (!bpe)
        return;
    sy_strings_free(&bpe->vocab);
    sy_strings_free(&bpe->pieces);
    sy_merges_free(&bpe->merges);
    for (int i = 0; i < SY_MAX_STEPS; i++) {
        sy_step_fini(&bpe->normalizer[i]);
        sy_step_fini(&bpe->pre[i]);
    }
    for (int32_t i = 0; i < bpe->n_added; i++) {
        free(bpe->added[i].text);
        free(bpe->added[i].looked_for);
    }
    free(bpe->added);
    sy_trie_free(&bpe->raw);
    sy_trie_free(&bpe->normal);
    free(bpe->from);
    free(bpe->to);
    free(bpe->decoded.s);
    free(bpe->decoded_at);
    free(bpe->added_of);
    free(bpe);
}
