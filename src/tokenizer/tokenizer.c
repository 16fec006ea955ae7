/* Tokenizers: see tokenizer.h. */
#include "tokenizer/tokenizer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "base/utf8.h"
#include "formats/xxh128.h"
#include "tokenizer/encode.h"
#include "tokenizer/internal.h"
#include "tokenizer/write.h"

/* --- a file ----------------------------------------------------------------------------------------- */

sy_status sy_tokenizer_read_file(const char *path, struct sy_text *out) {
    char piece[1 << 16];
    FILE *f = fopen(path, "re");
    if (!f)
        SY_FAIL(SY_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    size_t n = 1;
    while (n > 0 && out->n <= SY_TOKENIZER_MAX_BYTES) {
        n = fread(piece, 1, sizeof piece, f);
        sy_text_add(out, piece, n);
    }
    int failed = ferror(f);
    fclose(f);
    if (failed)
        SY_FAIL(SY_ERR_IO, "%s: cannot be read", path);
    if (out->n > SY_TOKENIZER_MAX_BYTES)
        SY_FAIL(SY_ERR_DATA, "%s: more than %d bytes", path, SY_TOKENIZER_MAX_BYTES);
    if (out->failed)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", path);
    return SY_OK;
}

/* `path` is the file, or its folder. */
static sy_status find_file(const char *path, char folder[SY_TOKENIZER_PATH], char file[SY_TOKENIZER_PATH]) {
    struct stat st;
    if (strlen(path) > SY_TOKENIZER_PATH - 32)
        SY_FAIL(SY_ERR_USAGE, "tokenizer.path: a path of %zu bytes", strlen(path));
    if (stat(path, &st) != 0)
        SY_FAIL(SY_ERR_IO,
                "tokenizer.path = \"%s\": %s; \"byte\", a tokenizer.json or a folder with one is needed",
                path, strerror(errno));
    const char *slash = strrchr(path, '/');
    if (S_ISDIR(st.st_mode)) {
        snprintf(folder, SY_TOKENIZER_PATH, "%s", path);
        snprintf(file, SY_TOKENIZER_PATH, "%.4000s/tokenizer.json", path);
        if (stat(file, &st) != 0)
            SY_FAIL(SY_ERR_IO, "tokenizer.path: %s: %s", file, strerror(errno));
        return SY_OK;
    }
    snprintf(file, SY_TOKENIZER_PATH, "%s", path);
    if (slash)
        snprintf(folder, SY_TOKENIZER_PATH, "%.*s", (int)(slash - path + (slash == path)), path);
    else
        snprintf(folder, SY_TOKENIZER_PATH, ".");
    return SY_OK;
}

/* --- creation --------------------------------------------------------------------------------------- */

static sy_status check_size(struct sy_tokenizer *t, const char *name, int64_t vocab_size) {
    if (vocab_size == 0)
        vocab_size = t->n_ids;
    if (vocab_size < t->n_ids || vocab_size > INT32_MAX)
        SY_FAIL(SY_ERR_USAGE,
                "model.vocab_size = %" PRId64 ": the tokenizer %s has %" PRId32 " ids: choose at least that",
                vocab_size, name, t->n_ids);
    t->vocab_size = (int32_t)vocab_size;
    return SY_OK;
}

static sy_status open_byte(struct sy_tokenizer *t, const struct sy_tokenizer_options *o) {
    t->n_ids = SY_TOKEN_BYTE_IDS;
    t->bos = SY_TOKEN_BOS;
    t->eos = SY_TOKEN_EOS;
    t->pad = SY_TOKEN_PAD;
    snprintf(t->hash, sizeof t->hash, "byte");
    if ((o->bos && *o->bos) || (o->eos && *o->eos))
        SY_FAIL(SY_ERR_USAGE, "tokenizer.bos_token and tokenizer.eos_token: the byte tokenizer has its own");
    SY_TRY(check_size(t, "\"byte\"", o->vocab_size));
    return sy_write_byte_tokenizer(&t->json, &t->config);
}

static sy_status open_json(struct sy_tokenizer *t, const struct sy_tokenizer_options *o) {
    char folder[SY_TOKENIZER_PATH], file[SY_TOKENIZER_PATH];
    SY_TRY(find_file(o->path, folder, file));
    SY_TRY(sy_tokenizer_read_file(file, &t->json));
    SY_TRY(sy_bpe_parse(file, t->json.s, t->json.n, &t->bpe));
    t->n_ids = t->bpe->n_ids;
    SY_TRY(check_size(t, file, o->vocab_size));
    SY_TRY(sy_tokenizer_ends(t, o, folder, file));
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory for its hash", file);
    int32_t ends[2] = {t->bos, t->eos};
    XXH3_128bits_reset(state);
    XXH3_128bits_update(state, t->json.s, t->json.n);
    XXH3_128bits_update(state, ends, sizeof ends);
    sy_xxh128_hex(XXH3_128bits_digest(state), t->hash);
    XXH3_freeState(state);
    return SY_OK;
}

sy_status sy_tokenizer_create(const struct sy_tokenizer_options *o, struct sy_tokenizer **out) {
    struct sy_tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for the tokenizer");
    int is_byte = !o->path || strcmp(o->path, "byte") == 0;
    sy_status status = is_byte ? open_byte(t, o) : open_json(t, o);
    if (status != SY_OK) {
        sy_tokenizer_destroy(t);
        return status;
    }
    *out = t;
    return SY_OK;
}

void sy_tokenizer_destroy(struct sy_tokenizer *t) {
    if (!t)
        return;
    sy_bpe_destroy(t->bpe);
    free(t->json.s);
    free(t->config.s);
    free(t);
}

/* --- what it is ------------------------------------------------------------------------------------- */

int32_t sy_tokenizer_n_ids(const struct sy_tokenizer *t) { return t->n_ids; }
int32_t sy_tokenizer_bos(const struct sy_tokenizer *t) { return t->bos; }
int32_t sy_tokenizer_eos(const struct sy_tokenizer *t) { return t->eos; }
int32_t sy_tokenizer_pad(const struct sy_tokenizer *t) { return t->pad; }
int sy_tokenizer_is_byte(const struct sy_tokenizer *t) { return !t->bpe; }
const char *sy_tokenizer_hash(const struct sy_tokenizer *t) { return t->hash; }

int sy_tokenizer_is_special(const struct sy_tokenizer *t, int32_t id) {
    if (id < 0 || id >= t->n_ids)
        return 0;
    return t->bpe ? sy_bpe_is_special(t->bpe, id) : id > 255;
}

int sy_tokenizer_has(const struct sy_tokenizer *t, int32_t id) {
    size_t n = 0;
    return t->bpe ? sy_strings_get(&t->bpe->vocab, id, &n) != NULL : id >= 0 && id < t->n_ids;
}

int32_t sy_tokenizer_find(const struct sy_tokenizer *t, const char *token) {
    if (t->bpe)
        return sy_strings_find(&t->bpe->vocab, token, strlen(token));
    for (int32_t id = SY_TOKEN_BOS; id < SY_TOKEN_BYTE_IDS; id++)
        if (strcmp(token, sy_byte_token_name(id)) == 0)
            return id;
    return SY_TOKEN_NONE;
}

const char *sy_tokenizer_json(const struct sy_tokenizer *t, size_t *bytes) {
    *bytes = t->json.n;
    return t->json.s;
}

const char *sy_tokenizer_config(const struct sy_tokenizer *t, size_t *bytes) {
    *bytes = t->config.n;
    return t->config.s;
}

/* --- text to tokens --------------------------------------------------------------------------------- */

struct sy_encoder {
    const struct sy_tokenizer *tokenizer;
    struct sy_encoding *encoding; /* NULL: bytes */
};

sy_status sy_encoder_create(const struct sy_tokenizer *t, struct sy_encoder **out) {
    struct sy_encoder *e = calloc(1, sizeof *e);
    if (!e)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for an encoder");
    e->tokenizer = t;
    sy_status status = t->bpe ? sy_encoding_create(t->bpe, &e->encoding) : SY_OK;
    if (status != SY_OK) {
        sy_encoder_destroy(e);
        return status;
    }
    *out = e;
    return SY_OK;
}

void sy_encoder_destroy(struct sy_encoder *e) {
    if (!e)
        return;
    sy_encoding_destroy(e->encoding);
    free(e);
}

static sy_status add_bytes(const char *text, size_t bytes, struct sy_tokens *out) {
    int32_t ids[256];
    for (size_t at = 0; at < bytes;) {
        size_t n = bytes - at < 256 ? bytes - at : 256;
        for (size_t i = 0; i < n; i++)
            ids[i] = (unsigned char)text[at + i];
        sy_tokens_add(out, ids, n);
        at += n;
    }
    if (out->failed)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for %zu tokens", bytes);
    return SY_OK;
}

sy_status sy_encoder_add(struct sy_encoder *e, const char *text, size_t bytes, struct sy_tokens *out) {
    if (!e->encoding)
        return add_bytes(text, bytes, out);
    size_t whole = sy_utf8_span(text, bytes);
    if (whole < bytes)
        SY_FAIL(SY_ERR_DATA, "byte %zu of the text, 0x%02x, is not UTF-8: this tokenizer reads characters",
                whole, (unsigned char)text[whole]);
    return sy_encoding_add(e->encoding, text, bytes, out);
}

sy_status sy_tokenizer_encode(const struct sy_tokenizer *t, const char *text, size_t bytes,
                              struct sy_tokens *out) {
    struct sy_encoder *e = NULL;
    SY_TRY(sy_encoder_create(t, &e));
    sy_status status = sy_encoder_add(e, text, bytes, out);
    sy_encoder_destroy(e);
    return status;
}
