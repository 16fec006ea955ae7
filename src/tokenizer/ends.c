/* Which tokens begin and end a document: see tokenizer.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "formats/json.h"
#include "tokenizer/internal.h"

/* A JSON file of the folder; NULL if it is not there. */
static sy_status read_json(const char *folder, const char *name, struct sy_text *text, json_t **out) {
    char path[SY_TOKENIZER_PATH + 64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    *out = NULL;
    if (access(path, F_OK) != 0)
        return SY_OK;
    SY_TRY(sy_tokenizer_read_file(path, text));
    return sy_json_parse(path, text->s, text->n, 0, out);
}

/* A token by its text, or by {"content": text}; SY_TOKEN_NONE where it is null or not there. */
static sy_status named(const struct sy_tokenizer *t, const char *folder, const json_t *config,
                       const char *key, int32_t *id) {
    const json_t *value = json_object_get(config, key);
    const char *text = json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
    *id = SY_TOKEN_NONE;
    if (!text)
        return SY_OK;
    *id = sy_tokenizer_find(t, text);
    if (*id == SY_TOKEN_NONE)
        SY_FAIL(SY_ERR_DATA, "%s/tokenizer_config.json: %s \"%.100s\" is no token of its tokenizer.json",
                folder, key, text);
    return SY_OK;
}

/* An id of config.json: a number, or the first of several. */
static int32_t numbered(const struct sy_tokenizer *t, const json_t *config, const char *key) {
    const json_t *value = json_object_get(config, key);
    value = json_is_array(value) ? json_array_get(value, 0) : value;
    json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    return id >= 0 && id < t->n_ids ? (int32_t)id : SY_TOKEN_NONE;
}

static int32_t only_special(const struct sy_tokenizer *t) {
    int32_t found = SY_TOKEN_NONE, n = 0;
    for (int32_t id = 0; id < t->n_ids; id++)
        if (sy_tokenizer_is_special(t, id)) {
            found = id;
            n++;
        }
    return n == 1 ? found : SY_TOKEN_NONE;
}

static sy_status from_files(struct sy_tokenizer *t, const char *folder, const json_t *own,
                            const json_t *model) {
    int32_t only = only_special(t);
    SY_TRY(named(t, folder, own, "bos_token", &t->bos));
    SY_TRY(named(t, folder, own, "eos_token", &t->eos));
    SY_TRY(named(t, folder, own, "pad_token", &t->pad));
    int says_none = json_is_null(json_object_get(own, "bos_token"));
    if (t->bos < 0 && !says_none)
        t->bos = t->bpe->template_bos;
    if (t->bos < 0 && !says_none)
        t->bos = numbered(t, model, "bos_token_id");
    if (t->eos < 0)
        t->eos = t->bpe->template_eos;
    if (t->eos < 0)
        t->eos = numbered(t, model, "eos_token_id");
    t->eos = t->eos < 0 ? only : t->eos;
    t->bos = t->bos < 0 && !says_none ? only : t->bos;
    return SY_OK;
}

static sy_status from_option(const struct sy_tokenizer *t, const char *file, const char *key,
                             const char *token, int32_t *id) {
    if (!token || !*token)
        return SY_OK;
    *id = sy_tokenizer_find(t, token);
    if (*id == SY_TOKEN_NONE && strcmp(token, "none") != 0)
        SY_FAIL(SY_ERR_USAGE, "tokenizer.%s = \"%.100s\": is no token of %s", key, token, file);
    return SY_OK;
}

/* The special tokens, as many as there is room for. */
static void list_special(const struct sy_tokenizer *t, char *out, size_t size) {
    size_t n = 0;
    *out = 0;
    for (int32_t i = 0; i < t->bpe->n_added && n < size; i++)
        if (t->bpe->added[i].special)
            n += (size_t)snprintf(out + n, size - n, "%s\"%s\"", n ? ", " : "", t->bpe->added[i].text);
}

static sy_status choose(struct sy_tokenizer *t, const struct sy_tokenizer_options *o, const char *folder,
                        const char *file, const json_t *own, const json_t *model) {
    SY_TRY(from_files(t, folder, own, model));
    SY_TRY(from_option(t, file, "bos_token", o->bos, &t->bos));
    SY_TRY(from_option(t, file, "eos_token", o->eos, &t->eos));
    if (t->eos < 0 && !o->any_ends) {
        char known[400];
        list_special(t, known, sizeof known);
        SY_FAIL(SY_ERR_USAGE,
                "%s: nothing says which token ends a document: set tokenizer.eos_token (special tokens: %s)",
                file, *known ? known : "none");
    }
    t->pad = t->pad < 0 ? t->eos : t->pad;
    return SY_OK;
}

/* What stands for it in a checkpoint: the file beside it, unless an option says otherwise. */
static sy_status make_config(struct sy_tokenizer *t, const struct sy_tokenizer_options *o,
                             const struct sy_text *own) {
    int states = (o->bos && *o->bos) || (o->eos && *o->eos);
    if (own->n && !states) {
        sy_text_add(&t->config, own->s, own->n);
        return t->config.failed ? sy_fail(SY_ERR_MEMORY, "out of memory for tokenizer_config.json") : SY_OK;
    }
    size_t n = 0;
    char *text = NULL;
    const char *token[3];
    json_t *name[3] = {0};
    const int32_t id[3] = {t->bos, t->eos, t->pad};
    for (int i = 0; i < 3; i++) {
        token[i] = sy_strings_get(&t->bpe->vocab, id[i], &n);
        name[i] = token[i] ? json_stringn(token[i], n) : json_null();
    }
    json_t *value = json_pack("{s:s, s:b, s:o, s:o, s:o}", "tokenizer_class", "PreTrainedTokenizerFast",
                              "clean_up_tokenization_spaces", 0, "bos_token", name[0], "eos_token", name[1],
                              "pad_token", name[2]);
    if (!value)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for tokenizer_config.json");
    sy_status status = sy_json_print(value, SY_JSON_INDENT, &text, &n);
    json_decref(value);
    SY_TRY(status);
    sy_text_add(&t->config, text, n);
    free(text);
    return t->config.failed ? sy_fail(SY_ERR_MEMORY, "out of memory for tokenizer_config.json") : SY_OK;
}

sy_status sy_tokenizer_ends(struct sy_tokenizer *t, const struct sy_tokenizer_options *o, const char *folder,
                            const char *file) {
    struct sy_text own_text = {0}, model_text = {0};
    json_t *own = NULL, *model = NULL;
    sy_status status = read_json(folder, "tokenizer_config.json", &own_text, &own);
    if (status == SY_OK)
        status = read_json(folder, "config.json", &model_text, &model);
    if (status == SY_OK)
        status = choose(t, o, folder, file, own, model);
    if (status == SY_OK)
        status = make_config(t, o, &own_text);
    json_decref(own);
    json_decref(model);
    free(own_text.s);
    free(model_text.s);
    return status;
}
