/* The safetensors writer: see safetensors.h.
 *
 *     one writer     open -> metadata, declare … -> first write: header goes out -> write … -> finish
 *     several        open -> metadata, declare … -> lay: the file has its header and its whole length
 *                    then each: join -> the same metadata, declare … -> write_at … -> finish
 *
 * The header's text is built while declaring: "metadata" and "tensors" each grow by one entry, so that its
 * length is known at any time. The header's bytes are hashed; what the data are, their owner digests.
 */
#include "base/files.h"
#include "base/text.h"
#include "formats/json.h"
#include "formats/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "formats/xxh128.h"

struct entry {
    char *name;
    int64_t end; /* of its data */
};

struct sy_safetensors_writer {
    char *path, *last_key;
    int fd;
    XXH128_hash_t header_hash;
    struct sy_text metadata, tensors; /* `"k":"v"` and `"name":{…}`, joined by commas */
    struct entry *entries;
    int64_t n_entries, capacity;
    int64_t current; /* entry that the next byte belongs to */
    int joined;      /* one of several: the file is there, and another's when this one ends */
    int64_t data_bytes, written,
        header; /* declared; of data so far; header with its length, 0 before it is written */
};

static sy_status out_of_memory(const struct sy_safetensors_writer *w) {
    SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", w->path);
}

static sy_status append(const struct sy_safetensors_writer *w, struct sy_text *text, const char *s,
                        size_t n) {
    return sy_text_add(text, s, n) ? SY_OK : out_of_memory(w);
}

/* A JSON string; ERR_USAGE if it is not valid UTF-8. */
static sy_status append_string(const struct sy_safetensors_writer *w, struct sy_text *text, const char *s) {
    json_t *value = NULL;
    SY_TRY(sy_json_string(w->path, s, &value));
    char *printed = sy_json_dumps(value, JSON_ENCODE_ANY);
    json_decref(value);
    if (!printed)
        return out_of_memory(w);
    sy_status status = append(w, text, printed, strlen(printed));
    free(printed);
    return status;
}

static sy_status append_format(const struct sy_safetensors_writer *w, struct sy_text *text, const char *fmt,
                               ...) SY_PRINTF(3, 4);
static sy_status append_format(const struct sy_safetensors_writer *w, struct sy_text *text, const char *fmt,
                               ...) {
    char s[160];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(s, sizeof s, fmt, args);
    va_end(args);
    return append(w, text, s, (size_t)n);
}

static void writer_free(struct sy_safetensors_writer *w) {
    for (int64_t i = 0; i < w->n_entries; i++)
        free(w->entries[i].name);
    free(w->entries);
    free(w->metadata.s);
    free(w->tensors.s);
    free(w->last_key);
    free(w->path);
    free(w);
}

static sy_status open_with(const char *path, int joined, struct sy_safetensors_writer **out) {
    struct sy_safetensors_writer *w = calloc(1, sizeof *w);
    if (!w)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", path);
    w->path = strdup(path);
    w->joined = joined;
    if (!w->path) {
        writer_free(w);
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", path);
    }
    SY_AGAIN(w->fd, open(path, O_WRONLY | O_CLOEXEC | (joined ? 0 : O_CREAT | O_EXCL), 0666));
    if (w->fd < 0) {
        int error = errno;
        writer_free(w);
        SY_FAIL(SY_ERR_IO, "%s: cannot %s: %s", path, joined ? "open for writing" : "create",
                strerror(error));
    }
    *out = w;
    return SY_OK;
}

sy_status sy_safetensors_writer_open(const char *path, struct sy_safetensors_writer **out) {
    return open_with(path, 0, out);
}

sy_status sy_safetensors_writer_join(const char *path, struct sy_safetensors_writer **out) {
    return open_with(path, 1, out);
}

sy_status sy_safetensors_writer_metadata(struct sy_safetensors_writer *w, const char *key,
                                         const char *value) {
    if (w->header)
        SY_FAIL(SY_ERR_USAGE, "%s: metadata \"%.200s\" after the first write", w->path, key);
    if (w->last_key && strcmp(key, w->last_key) <= 0)
        SY_FAIL(SY_ERR_USAGE, "%s: metadata \"%.200s\" after \"%.200s\": not in bytewise order", w->path, key,
                w->last_key);
    char *copy = strdup(key);
    if (!copy)
        return out_of_memory(w);
    free(w->last_key);
    w->last_key = copy;
    if (w->metadata.n)
        SY_TRY(append(w, &w->metadata, ",", 1));
    SY_TRY(append_string(w, &w->metadata, key));
    SY_TRY(append(w, &w->metadata, ":", 1));
    return append_string(w, &w->metadata, value);
}

static sy_status append_tensor(struct sy_safetensors_writer *w, const char *name,
                               enum sy_safetensors_dtype dtype, int n_dims, const int64_t *dims,
                               int64_t end) {
    struct sy_text *text = &w->tensors;
    if (text->n)
        SY_TRY(append(w, text, ",", 1));
    SY_TRY(append_string(w, text, name));
    SY_TRY(append_format(w, text, ":{\"dtype\":\"%s\",\"shape\":[", sy_safetensors_dtype_name(dtype)));
    for (int i = 0; i < n_dims; i++)
        SY_TRY(append_format(w, text, "%s%" PRId64, i ? "," : "", dims[i]));
    return append_format(w, text, "],\"data_offsets\":[%" PRId64 ",%" PRId64 "]}", w->data_bytes, end);
}

static sy_status add_entry(struct sy_safetensors_writer *w, const char *name, int64_t end) {
    if (w->n_entries == w->capacity) {
        int64_t capacity = w->capacity ? 2 * w->capacity : 64;
        struct entry *larger = realloc(w->entries, (size_t)capacity * sizeof *larger);
        if (!larger)
            return out_of_memory(w);
        w->entries = larger;
        w->capacity = capacity;
    }
    char *copy = strdup(name);
    if (!copy)
        return out_of_memory(w);
    w->entries[w->n_entries++] = (struct entry){copy, end};
    w->data_bytes = end;
    return SY_OK;
}

sy_status sy_safetensors_writer_declare(struct sy_safetensors_writer *w, const char *name,
                                        enum sy_safetensors_dtype dtype, int n_dims, const int64_t *dims) {
    if (w->header)
        SY_FAIL(SY_ERR_USAGE, "%s: tensor \"%.200s\" declared after the first write", w->path, name);
    if (strcmp(name, "__metadata__") == 0)
        SY_FAIL(SY_ERR_USAGE, "%s: a tensor cannot be called __metadata__", w->path);
    if (w->n_entries && strcmp(name, w->entries[w->n_entries - 1].name) <= 0)
        SY_FAIL(SY_ERR_USAGE, "%s: tensor \"%.200s\" after \"%.200s\": not in bytewise order", w->path, name,
                w->entries[w->n_entries - 1].name);
    if ((int)dtype < 0 || dtype >= SY_SAFETENSORS_DTYPES || n_dims < 0 || n_dims > SY_SAFETENSORS_MAX_DIMS)
        SY_FAIL(SY_ERR_USAGE, "%s: tensor \"%.200s\": dtype %d or %d dims (at most %d)", w->path, name,
                (int)dtype, n_dims, SY_SAFETENSORS_MAX_DIMS);
    int64_t bits = sy_safetensors_dtype_bits(dtype), end;
    for (int i = 0; i < n_dims; i++)
        if (dims[i] < 0 || __builtin_mul_overflow(bits, dims[i], &bits))
            SY_FAIL(SY_ERR_USAGE, "%s: tensor \"%.200s\": dim %d of %" PRId64 " is negative or too large",
                    w->path, name, i, dims[i]);
    if (bits % 8)
        SY_FAIL(SY_ERR_USAGE, "%s: tensor \"%.200s\": its %" PRId64 " bits end within a byte", w->path, name,
                bits);
    if (__builtin_add_overflow(w->data_bytes, bits / 8, &end) || end > INT64_MAX / 2)
        SY_FAIL(SY_ERR_USAGE, "%s: tensor \"%.200s\": the file becomes too large", w->path, name);
    SY_TRY(append_tensor(w, name, dtype, n_dims, dims, end));
    return add_entry(w, name, end);
}

static const char metadata_open[] = "{\"__metadata__\":{", metadata_close[] = "}";

/* Bytes of the header's text with its padding: 8 + text is a multiple of 8. */
static size_t header_bytes(const struct sy_safetensors_writer *w) {
    size_t n = w->metadata.n ? sizeof metadata_open - 1 + w->metadata.n + sizeof metadata_close - 1 : 1;
    n += (w->metadata.n && w->tensors.n) + w->tensors.n + 1;
    return (n + 7) / 8 * 8;
}

/* Writes everything at byte `at` of the file. `what` names it for the message. */
static sy_status put(struct sy_safetensors_writer *w, int64_t at, const void *data, size_t bytes,
                     const char *what) {
    int wrote = sy_file_write(w->fd, &at, data, bytes);
    if (wrote < 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot write %s: %s", w->path, what, strerror(errno));
    if (wrote == 0) /* no progress and no errno: the same as a full disk */
        SY_FAIL(SY_ERR_IO, "%s: cannot write %s: nothing was written", w->path, what);
    return SY_OK;
}

/* Every byte before the data: the length and the text. */
static sy_status build_header(struct sy_safetensors_writer *w, uint64_t length, struct sy_text *text) {
    SY_TRY(append(w, text, (const char *)&length, sizeof length));
    if (w->metadata.n) {
        SY_TRY(append(w, text, metadata_open, sizeof metadata_open - 1));
        SY_TRY(append(w, text, w->metadata.s, w->metadata.n));
        SY_TRY(append(w, text, metadata_close, sizeof metadata_close - 1));
        if (w->tensors.n)
            SY_TRY(append(w, text, ",", 1));
    } else {
        SY_TRY(append(w, text, "{", 1));
    }
    if (w->tensors.n)
        SY_TRY(append(w, text, w->tensors.s, w->tensors.n));
    SY_TRY(append(w, text, "}", 1));
    while (text->n % 8)
        SY_TRY(append(w, text, " ", 1));
    return SY_OK;
}

/* The header is known from here on, and in the file unless another has put it there. */
static sy_status put_header(struct sy_safetensors_writer *w) {
    uint64_t length = header_bytes(w);
    if (length > SY_SAFETENSORS_MAX_HEADER)
        SY_FAIL(SY_ERR_USAGE, "%s: header of %" PRIu64 " bytes, at most %d are allowed", w->path, length,
                SY_SAFETENSORS_MAX_HEADER);
    struct sy_text text = {0};
    sy_status status = build_header(w, length, &text);
    if (status == SY_OK) {
        w->header_hash = XXH3_128bits(text.s, text.n);
        if (!w->joined)
            status = put(w, 0, text.s, text.n, "the header");
    }
    free(text.s);
    w->header = (int64_t)sizeof length + (int64_t)length;
    return status;
}

static sy_status put_data(struct sy_safetensors_writer *w, int64_t entry, int64_t at, const void *data,
                          size_t bytes) {
    char what[256];
    snprintf(what, sizeof what, "tensor \"%.200s\"", w->entries[entry].name);
    SY_TRY(put(w, w->header + at, data, bytes, what));
    w->written += (int64_t)bytes;
    return SY_OK;
}

sy_status sy_safetensors_writer_write(struct sy_safetensors_writer *w, const void *data, size_t bytes) {
    if (!w->header)
        SY_TRY(put_header(w));
    if (bytes == 0)
        return SY_OK;
    if (bytes > (uint64_t)(w->data_bytes - w->written))
        SY_FAIL(SY_ERR_USAGE, "%s: %zu bytes written where %" PRId64 " are left of those declared", w->path,
                bytes, w->data_bytes - w->written);
    while (w->entries[w->current].end <= w->written)
        w->current++;
    return put_data(w, w->current, w->written, data, bytes);
}

sy_status sy_safetensors_writer_write_at(struct sy_safetensors_writer *w, int64_t tensor, int64_t first,
                                         const void *data, size_t bytes) {
    if (!w->joined || tensor < 0 || tensor >= w->n_entries)
        SY_FAIL(SY_ERR_USAGE, "%s: tensor %" PRId64 " of %" PRId64 ", in a file that was %s", w->path, tensor,
                w->n_entries, w->joined ? "joined" : "opened to be written in order");
    if (!w->header)
        SY_TRY(put_header(w));
    int64_t begin = tensor ? w->entries[tensor - 1].end : 0, size = w->entries[tensor].end - begin;
    if (first < 0 || first > size || bytes > (uint64_t)(size - first))
        SY_FAIL(SY_ERR_USAGE, "%s: tensor \"%.200s\": %zu bytes from byte %" PRId64 " on, it has %" PRId64,
                w->path, w->entries[tensor].name, bytes, first, size);
    return put_data(w, tensor, begin + first, data, bytes);
}

static sy_status end_file(struct sy_safetensors_writer *w, int do_fsync) {
    int rc = 0;
    if (do_fsync)
        SY_AGAIN(rc, fsync(w->fd));
    if (rc != 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot fsync: %s", w->path, strerror(errno));
    rc = close(w->fd);
    w->fd = -1;
    if (rc != 0 && errno != EINTR) /* the descriptor is gone either way */
        SY_FAIL(SY_ERR_IO, "%s: cannot close: %s", w->path, strerror(errno));
    return SY_OK;
}

static sy_status finish(struct sy_safetensors_writer *w, sy_status status, int do_fsync,
                        struct sy_safetensors_written *out) {
    if (status == SY_OK)
        status = end_file(w, do_fsync);
    if (status != SY_OK) {
        sy_safetensors_writer_abandon(w);
        return status;
    }
    if (out) {
        out->bytes = w->header + w->data_bytes;
        sy_xxh128_hex(w->header_hash, out->header_hash);
    }
    writer_free(w);
    return SY_OK;
}

static sy_status complete(struct sy_safetensors_writer *w) {
    SY_TRY(w->header ? SY_OK : put_header(w));
    if (!w->joined && w->written != w->data_bytes)
        SY_FAIL(SY_ERR_USAGE, "%s: %" PRId64 " bytes of data written, %" PRId64 " declared", w->path,
                w->written, w->data_bytes);
    return SY_OK;
}

sy_status sy_safetensors_writer_finish(struct sy_safetensors_writer *w, int do_fsync,
                                       struct sy_safetensors_written *out) {
    return finish(w, complete(w), do_fsync, out);
}

static sy_status reserve(struct sy_safetensors_writer *w) {
    if (w->joined || w->written)
        SY_FAIL(SY_ERR_USAGE, "%s: laid out after data were written, or in a file that was joined", w->path);
    SY_TRY(w->header ? SY_OK : put_header(w));
    int rc;
    SY_AGAIN(rc, ftruncate(w->fd, w->header + w->data_bytes));
    if (rc != 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot write %" PRId64 " bytes: %s", w->path, w->header + w->data_bytes,
                strerror(errno));
    return SY_OK;
}

sy_status sy_safetensors_writer_lay(struct sy_safetensors_writer *w, struct sy_safetensors_written *out) {
    return finish(w, reserve(w), 1, out);
}

void sy_safetensors_writer_abandon(struct sy_safetensors_writer *w) {
    if (!w)
        return;
    if (w->fd >= 0)
        close(w->fd);
    if (!w->joined)
        unlink(w->path);
    writer_free(w);
}
