/* The data set's fingerprint, and finding what changed since it was taken: see documents.h.
 *
 * Files are compared in order by (bytes, hash): if all agree it is the same data wherever it stands now.
 * If not, they are matched by path to name the first that vanished, changed or is new. The documents'
 * hash catches options: the same files read with another text_key, max_bytes or holdout are other data.
 */
#include "data/documents.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "formats/json.h"

enum { SOME = 512 };

sy_status sy_documents_hash(const struct sy_documents *d, char out[33]) {
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for the fingerprint of the data");
    XXH3_128bits_reset(state);
    XXH3_128bits_update(state, &d->n_documents, sizeof d->n_documents);
    for (int64_t i = 0; i < d->n_documents; i += SOME) {
        uint64_t some[2 * SOME];
        int64_t n = d->n_documents - i < SOME ? d->n_documents - i : SOME;
        for (int64_t k = 0; k < n; k++) {
            some[2 * k] = d->document[i + k].hash;
            some[2 * k + 1] = (uint64_t)d->document[i + k].bytes;
        }
        XXH3_128bits_update(state, some, 2 * (size_t)n * sizeof *some);
    }
    XXH3_128bits_update(state, &d->n_heldout, sizeof d->n_heldout);
    for (int64_t i = 0; i < d->n_heldout; i++)
        XXH3_128bits_update(state, &d->heldout[i], sizeof d->heldout[i]);
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    snprintf(out, 33, "%016" PRIx64 "%016" PRIx64, (uint64_t)hash.high64, (uint64_t)hash.low64);
    return SY_OK;
}

/* A path as valid UTF-8 for JSON: bytes that are not printable ASCII, and '%', as %XX. NULL when out of
 * memory. */
static char *printable(const char *path) {
    char *out = malloc(3 * strlen(path) + 1), *to = out;
    if (!out)
        return NULL;
    for (const unsigned char *s = (const unsigned char *)path; *s; s++) {
        if (*s >= 0x20 && *s < 0x7f && *s != '%')
            *to++ = (char)*s;
        else
            to += snprintf(to, 4, "%%%02X", *s);
    }
    *to = 0;
    return out;
}

static json_t *file_entry(const struct sy_data_file *file) {
    char *path = printable(file->path);
    if (!path)
        return NULL;
    json_t *entry =
        json_pack("{s:s, s:I, s:s}", "path", path, "bytes", (json_int_t)file->bytes, "hash", file->hash);
    free(path);
    return entry;
}

sy_status sy_documents_fingerprint(const struct sy_documents *d, const char *tokenizer, json_t **out) {
    char hash[33];
    SY_TRY(sy_documents_hash(d, hash));
    json_t *files = json_array();
    int ok = files != NULL;
    for (int64_t i = 0; i < d->n_files && ok; i++)
        ok = json_array_append_new(files, file_entry(&d->file[i])) == 0;
    json_t *value = NULL;
    if (ok)
        value = json_pack("{s:O, s:I, s:s}", "files", files, "documents", (json_int_t)d->n_documents,
                          "documents_hash", hash);
    json_decref(files);
    if (value && strcmp(tokenizer, "byte") != 0 &&
        json_object_set_new(value, "tokenizer", json_string(tokenizer)) != 0) {
        json_decref(value);
        value = NULL;
    }
    if (!value)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for the fingerprint of %" PRId64 " data files", d->n_files);
    *out = value;
    return SY_OK;
}

struct was {
    const char *path, *hash;
    int64_t bytes;
};

static sy_status read_entry(const char *name, const json_t *entry, struct was *was) {
    SY_TRY(sy_json_get_string(name, entry, "path", &was->path));
    SY_TRY(sy_json_get_string(name, entry, "hash", &was->hash));
    return sy_json_get_int(name, entry, "bytes", 0, INT64_MAX, &was->bytes);
}

static int is_same(const struct was *was, const struct sy_data_file *now) {
    return was->bytes == now->bytes && strcmp(was->hash, now->hash) == 0;
}

/* Compares one file of the fingerprint with that of the same path today. *matched: its index, or -1. */
static sy_status match(const struct sy_documents *d, char *const *paths, const struct was *was,
                       int64_t *matched) {
    *matched = -1;
    for (int64_t i = 0; i < d->n_files; i++) {
        if (strcmp(paths[i], was->path) != 0)
            continue;
        if (!is_same(was, &d->file[i]))
            SY_FAIL(SY_ERR_DATA,
                    "%s: the data file changed since the run began: %" PRId64 " bytes, hash %s then; %" PRId64
                    " bytes, hash %s now",
                    was->path, was->bytes, was->hash, d->file[i].bytes, d->file[i].hash);
        *matched = i;
        return SY_OK;
    }
    SY_FAIL(SY_ERR_DATA, "%s: the data file vanished since the run began (%" PRId64 " bytes, hash %s)",
            was->path, was->bytes, was->hash);
}

/* The files differ: names the first that did. */
static sy_status name_difference(const struct sy_documents *d, const char *name, const json_t *files,
                                 char *const *paths, char *seen) {
    size_t k;
    json_t *entry;
    json_array_foreach(files, k, entry) {
        struct was was = {0};
        int64_t i = -1;
        SY_TRY(read_entry(name, entry, &was));
        SY_TRY(match(d, paths, &was, &i));
        seen[i] = 1;
    }
    for (int64_t i = 0; i < d->n_files; i++)
        if (!seen[i])
            SY_FAIL(SY_ERR_DATA, "%s: the data file is new since the run began", paths[i]);
    SY_FAIL(SY_ERR_DATA, "%s: the data files are the same but in another order", name);
}

static sy_status describe_difference(const struct sy_documents *d, const char *name, const json_t *files) {
    char **paths = calloc((size_t)d->n_files + 1, sizeof *paths);
    char *seen = calloc((size_t)d->n_files + 1, 1);
    int ok = paths && seen;
    for (int64_t i = 0; i < d->n_files && ok; i++)
        ok = (paths[i] = printable(d->file[i].path)) != NULL;
    sy_status status = ok ? name_difference(d, name, files, paths, seen)
                          : sy_fail(SY_ERR_MEMORY, "%s: out of memory for the data files' names", name);
    for (int64_t i = 0; paths && i < d->n_files; i++)
        free(paths[i]);
    free(paths);
    free(seen);
    return status;
}

static sy_status check_tokenizer(const char *name, const json_t *fingerprint, const char *now) {
    const char *was = "byte";
    if (sy_json_has(fingerprint, "tokenizer"))
        SY_TRY(sy_json_get_string(name, fingerprint, "tokenizer", &was));
    if (strcmp(was, now) != 0)
        SY_FAIL(SY_ERR_DATA,
                "%s: another tokenizer: the run's has the hash %s (its tokenizer.json is there), this one %s",
                name, was, now);
    return SY_OK;
}

sy_status sy_documents_check(const struct sy_documents *d, const char *tokenizer, const char *name,
                             const json_t *fingerprint) {
    json_t *files = NULL, *entry;
    const char *hash = NULL;
    int64_t n_documents = 0;
    SY_TRY(check_tokenizer(name, fingerprint, tokenizer));
    SY_TRY(sy_json_get_array(name, fingerprint, "files", &files));
    SY_TRY(sy_json_get_string(name, fingerprint, "documents_hash", &hash));
    SY_TRY(sy_json_get_int(name, fingerprint, "documents", 0, INT64_MAX, &n_documents));
    int same = json_array_size(files) == (size_t)d->n_files;
    size_t k;
    json_array_foreach(files, k, entry) {
        struct was was = {0};
        SY_TRY(read_entry(name, entry, &was));
        same = same && is_same(&was, &d->file[k]);
    }
    if (!same)
        return describe_difference(d, name, files);
    char now[33];
    SY_TRY(sy_documents_hash(d, now));
    if (strcmp(now, hash) != 0)
        SY_FAIL(SY_ERR_DATA,
                "%s: the same files give other documents than when the run began (%" PRId64 " then, %" PRId64
                " now): an option of [data], validation.dataset_path, or the rule of "
                "what is held out (CHANGELOG) changed",
                name, n_documents, d->n_documents);
    return SY_OK;
}
