/* Reading our own files of tokens: see token_file.h. What is wrong in the index shows in the digest; in the
 * ids, in the sum of their block, when that is first read.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/json.h"
#include "formats/safetensors.h"
#include "formats/token_parts.h"

static int pair_of(const void *arg, int64_t i, const char **key, const char **value) {
    struct sy_safetensors_pair p = sy_safetensors_metadata_at(arg, i);
    *key = p.key;
    *value = p.value;
    return p.key != NULL;
}

static sy_status keep_notes(const struct sy_safetensors *s, struct sy_token_file *f) {
    struct sy_safetensors_pair p;
    json_t *notes = json_object();
    int ok = notes != NULL;
    for (int64_t i = 0; ok && (p = sy_safetensors_metadata_at(s, i)).key; i++)
        ok = json_object_set_new(notes, p.key, json_string(p.value)) == 0;
    f->notes = notes;
    return ok ? SY_OK : sy_fail(SY_ERR_MEMORY, "%s: out of memory", f->stored[0].path);
}

const char *sy_token_file_note(const struct sy_token_file *f, const char *key) {
    return json_string_value(json_object_get(f->notes, key));
}

int64_t sy_token_file_number(const struct sy_token_file *f, const char *key) {
    const char *text = sy_token_file_note(f, key);
    int64_t n = text && *text ? 0 : -1;
    for (; n >= 0 && *text; text++)
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, *text - '0', &n))
            n = -1;
    return n;
}

/* A whole tensor in memory, of dtype, [rows] or [rows, width]. */
static sy_status take(const struct sy_safetensors *s, const char *path, const char *name,
                      enum sy_safetensors_dtype dtype, int64_t width, int64_t *rows, void **out) {
    const struct sy_safetensors_tensor *t = sy_safetensors_find(s, name);
    int64_t columns = !t ? 0 : t->n_dims == 2 ? t->dims[1] : 1;
    if (!t || t->dtype != dtype || t->n_dims != (width > 1 ? 2 : 1) || columns != width)
        SY_FAIL(SY_ERR_DATA, "%s: a file of tokens has no such tensor \"%s\"", path, name);
    *rows = t->dims[0];
    *out = malloc((size_t)t->bytes + 1);
    if (!*out)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory for %" PRId64 " bytes of \"%s\"", path, t->bytes, name);
    return sy_safetensors_read(s, t, 0, t->bytes, *out);
}

static sy_status check_documents(const struct sy_token_file *f, const char *path) {
    for (int64_t i = 0; i < f->n_documents; i++) {
        const struct sy_token_document *d = &f->document[i];
        if (d->first < 0 || d->n < 0 || d->bytes < 1 || d->n > f->n || d->first > f->n - d->n)
            SY_FAIL(SY_ERR_DATA,
                    "%s: document %" PRId64 " is tokens %" PRId64 " + %" PRId64 " of %" PRId64
                    ": the file is damaged",
                    path, i, d->first, d->n, f->n);
    }
    return SY_OK;
}

static sy_status check_digest(const struct sy_safetensors *s, struct sy_token_file *f, const char *path,
                              int64_t n_sums) {
    const struct sy_token_part parts[3] = {
        {f->document, (size_t)f->n_documents * sizeof *f->document},
        {f->sums, (size_t)n_sums * sizeof *f->sums},
        {f->counts, (size_t)f->n_ids * sizeof *f->counts},
    };
    char digest[33];
    if (!sy_token_digest(pair_of, s, parts, digest))
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", path);
    const char *want = sy_token_file_note(f, "digest");
    if (!want || strcmp(want, digest) != 0)
        SY_FAIL(SY_ERR_DATA, "%s: its index has the digest %s, written is %.32s: the file is damaged", path,
                digest, want ? want : "none");
    memcpy(f->stored[0].hash, digest, sizeof digest);
    return SY_OK;
}

static sy_status check_tokenizer(const struct sy_token_file *f, const struct sy_token_options *o,
                                 const char *path) {
    const char *made_by = sy_token_file_note(f, "tokenizer");
    int64_t n_ids = sy_token_file_number(f, "n_ids");
    if (!made_by || n_ids < 0)
        SY_FAIL(SY_ERR_DATA, "%s: it does not say its tokenizer and n_ids: the file is damaged", path);
    if (strcmp(made_by, o->tokenizer) != 0 || n_ids != o->n_ids)
        SY_FAIL(SY_ERR_DATA,
                "%s: its tokens are those of the tokenizer %.40s with %" PRId64
                " ids, the run's is %s with %" PRId32 ": choose tokenizer.path accordingly, or tokenize anew",
                path, made_by, n_ids, o->tokenizer, o->n_ids);
    return SY_OK;
}

static sy_status read_ids(const struct sy_safetensors *s, struct sy_token_file *f, const char *path,
                          int64_t *n_sums) {
    const struct sy_safetensors_tensor *t = sy_safetensors_find(s, "tokens");
    if (!t || t->n_dims != 1 ||
        (t->dtype != SY_SAFETENSORS_U8 && t->dtype != SY_SAFETENSORS_U16 && t->dtype != SY_SAFETENSORS_I32))
        SY_FAIL(SY_ERR_DATA, "%s: a file of tokens has no such tensor \"tokens\"", path);
    f->ids = t->dtype == SY_SAFETENSORS_U8    ? SY_IDS_U8
             : t->dtype == SY_SAFETENSORS_U16 ? SY_IDS_U16
                                              : SY_IDS_I32;
    f->n = t->n_elements;
    f->base = t->offset;
    SY_TRY(take(s, path, "sums", SY_SAFETENSORS_U64, 1, n_sums, (void **)&f->sums));
    int64_t blocks = t->bytes / SY_TOKEN_BLOCK_BYTES + (t->bytes % SY_TOKEN_BLOCK_BYTES > 0);
    if (*n_sums != blocks)
        SY_FAIL(SY_ERR_DATA, "%s: %" PRId64 " sums of %" PRId64 " blocks: the file is damaged", path, *n_sums,
                blocks);
    f->checked = calloc((size_t)blocks + 1, 1);
    return f->checked ? SY_OK : sy_fail(SY_ERR_MEMORY, "%s: out of memory", path);
}

/* What both kinds have; of an index f->n is known before. */
static sy_status read_index(const struct sy_safetensors *s, const char *path,
                            const struct sy_token_options *o, struct sy_token_file *f, int64_t n_sums) {
    int64_t n_counts = 0;
    SY_TRY(check_tokenizer(f, o, path));
    SY_TRY(take(s, path, "documents", SY_SAFETENSORS_I64, 4, &f->n_documents, (void **)&f->document));
    SY_TRY(take(s, path, "counts", SY_SAFETENSORS_I64, 1, &n_counts, (void **)&f->counts));
    f->n_ids = o->n_ids;
    if (n_counts != o->n_ids)
        SY_FAIL(SY_ERR_DATA, "%s: counts of %" PRId64 " ids, there are %" PRId32 ": the file is damaged",
                path, n_counts, o->n_ids);
    SY_TRY(check_digest(s, f, path, n_sums));
    return check_documents(f, path);
}

static sy_status has_format(const struct sy_token_file *f, const char *path, const char *want) {
    const char *format = sy_token_file_note(f, "format");
    if (!format || strcmp(format, want) != 0)
        SY_FAIL(SY_ERR_DATA, "%s: format \"%.40s\", \"%s\" is read", path, format ? format : "none", want);
    return SY_OK;
}

sy_status sy_token_open_ours(const char *path, const struct sy_token_options *o, struct sy_token_file *f) {
    struct sy_safetensors *s = NULL;
    int64_t bytes, n_sums = 0;
    SY_TRY(sy_safetensors_open(path, &s));
    sy_status status = keep_notes(s, f);
    if (status == SY_OK)
        status = has_format(f, path, SY_TOKEN_FORMAT);
    if (status == SY_OK)
        status = read_ids(s, f, path, &n_sums);
    if (status == SY_OK)
        status = read_index(s, path, o, f, n_sums);
    f->stored[0].bytes = sy_safetensors_file_bytes(s);
    sy_safetensors_close(s);
    return status == SY_OK ? sy_token_open_fd(path, &f->fd, &bytes) : status;
}

sy_status sy_token_take_index(const char *path, const struct sy_token_options *o, struct sy_token_file *f) {
    struct sy_safetensors *s = NULL;
    SY_TRY(sy_safetensors_open(path, &s));
    sy_status status = keep_notes(s, f);
    if (status == SY_OK)
        status = has_format(f, path, SY_TOKEN_INDEX_FORMAT);
    if (status == SY_OK)
        status = read_index(s, path, o, f, 0);
    sy_safetensors_close(s);
    SY_TRY(status);
    f->n_empty = sy_token_file_number(f, "empty");
    for (int i = 0; i < f->n_stored; i++) {
        const char *hash = sy_token_file_note(f, i ? "hash_1" : "hash_0");
        snprintf(f->stored[i].hash, sizeof f->stored[i].hash, "%s", hash ? hash : "");
    }
    return SY_OK;
}
