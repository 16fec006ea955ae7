/* safetensors, what both sides share, and the reader's access: see safetensors.h. The rules are in
 * safetensors_header.c. */
#include "formats/safetensors_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors files are little-endian, this machine is not"
#endif

static const struct {
    const char *name;
    int bits;
} dtypes[] = {
#define X(name, text, bits) {text, bits},
    SY_SAFETENSORS_DTYPE_LIST(X)
#undef X
};

const char *sy_safetensors_dtype_name(enum sy_safetensors_dtype dtype) { return dtypes[dtype].name; }
int sy_safetensors_dtype_bits(enum sy_safetensors_dtype dtype) { return dtypes[dtype].bits; }
int sy_safetensors_dtype_bytes(enum sy_safetensors_dtype dtype) { return dtypes[dtype].bits / 8; }

void sy_safetensors_shape(const struct sy_safetensors_tensor *t, char *out, size_t bytes) {
    size_t n = (size_t)snprintf(out, bytes, "[");
    for (int i = 0; i < t->n_dims && n < bytes; i++)
        n += (size_t)snprintf(out + n, bytes - n, "%s%" PRId64, i ? ", " : "", t->dims[i]);
    if (n < bytes)
        snprintf(out + n, bytes - n, "]");
}

/* Exactly `bytes` bytes. Errors: ERR_IO, ERR_DATA at the end of the file. */
static sy_status read_at(const struct sy_safetensors *file, int64_t offset, int64_t bytes, void *dst) {
    return sy_file_need(file->path, file->fd, offset, dst, (size_t)bytes);
}

/* Length of the header and the first check of it. */
static sy_status header_length(const char *path, int64_t file_bytes, const unsigned char *prefix,
                               int64_t *out) {
    if (file_bytes < 8)
        SY_FAIL(SY_ERR_DATA, "%s: %" PRId64 " bytes are too few for a safetensors file", path, file_bytes);
    uint64_t length = 0;
    memcpy(&length, prefix, 8);
    if (length > SY_SAFETENSORS_MAX_HEADER)
        SY_FAIL(SY_ERR_DATA,
                "%s: header of %" PRIu64 " bytes, at most %d are allowed: not a safetensors file?", path,
                length, SY_SAFETENSORS_MAX_HEADER);
    if ((int64_t)length > file_bytes - 8)
        SY_FAIL(SY_ERR_DATA, "%s: header of %" PRIu64 " bytes in a file of %" PRId64 " bytes", path, length,
                file_bytes);
    *out = (int64_t)length;
    return SY_OK;
}

static sy_status new_file(const char *path, struct sy_safetensors **out) {
    struct sy_safetensors *file = calloc(1, sizeof *file);
    char *copy = strdup(path);
    if (!file || !copy) {
        free(file);
        free(copy);
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", path);
    }
    file->fd = -1;
    file->path = copy;
    *out = file;
    return SY_OK;
}

static sy_status open_and_read(struct sy_safetensors *file) {
    /* O_NONBLOCK: a FIFO must not hang us; no effect on files */
    SY_AGAIN(file->fd, open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (file->fd < 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot open: %s", file->path, strerror(errno));
    struct stat st;
    if (fstat(file->fd, &st) != 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot stat: %s", file->path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        SY_FAIL(SY_ERR_IO, "%s: not a regular file", file->path);
    file->bytes = st.st_size;
    unsigned char prefix[8] = {0};
    SY_TRY(read_at(file, 0, file->bytes < 8 ? file->bytes : 8, prefix));
    int64_t length = 0;
    SY_TRY(header_length(file->path, file->bytes, prefix, &length));
    char *header = malloc((size_t)length + 1);
    if (!header)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory for a header of %" PRId64 " bytes", file->path, length);
    sy_status status = read_at(file, 8, length, header);
    if (status == SY_OK)
        status = sy_safetensors_header_parse(file, header, (size_t)length);
    free(header);
    return status;
}

sy_status sy_safetensors_open(const char *path, struct sy_safetensors **out) {
    struct sy_safetensors *file = NULL;
    SY_TRY(new_file(path, &file));
    sy_status status = open_and_read(file);
    if (status != SY_OK) {
        sy_safetensors_close(file);
        return status;
    }
    *out = file;
    return SY_OK;
}

sy_status sy_safetensors_parse(const char *name, const void *data, size_t bytes,
                               struct sy_safetensors **out) {
    if (bytes > INT64_MAX)
        SY_FAIL(SY_ERR_USAGE, "%s: %zu bytes are too many", name, bytes);
    int64_t length = 0;
    SY_TRY(header_length(name, (int64_t)bytes, data, &length));
    struct sy_safetensors *file = NULL;
    SY_TRY(new_file(name, &file));
    file->memory = data;
    file->bytes = (int64_t)bytes;
    sy_status status = sy_safetensors_header_parse(file, file->memory + 8, (size_t)length);
    if (status != SY_OK) {
        sy_safetensors_close(file);
        return status;
    }
    *out = file;
    return SY_OK;
}

void sy_safetensors_close(struct sy_safetensors *file) {
    if (!file)
        return;
    if (file->fd >= 0)
        close(file->fd);
    json_decref(file->header);
    free(file->tensors);
    free(file->by_name);
    free(file->metadata);
    free(file->path);
    free(file);
}

int64_t sy_safetensors_count(const struct sy_safetensors *file) { return file->n_tensors; }
int64_t sy_safetensors_metadata_count(const struct sy_safetensors *file) { return file->n_metadata; }
int64_t sy_safetensors_file_bytes(const struct sy_safetensors *file) { return file->bytes; }

const struct sy_safetensors_tensor *sy_safetensors_at(const struct sy_safetensors *file, int64_t i) {
    return i >= 0 && i < file->n_tensors ? &file->tensors[i] : NULL;
}

struct sy_safetensors_pair sy_safetensors_metadata_at(const struct sy_safetensors *file, int64_t i) {
    struct sy_safetensors_pair none = {NULL, NULL};
    return i >= 0 && i < file->n_metadata ? file->metadata[i] : none;
}

const struct sy_safetensors_tensor *sy_safetensors_find(const struct sy_safetensors *file, const char *name) {
    int64_t low = 0, high = file->n_tensors;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int order = strcmp(name, file->by_name[middle]->name);
        if (order == 0)
            return file->by_name[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

sy_status sy_safetensors_read(const struct sy_safetensors *file, const struct sy_safetensors_tensor *tensor,
                              int64_t first, int64_t bytes, void *dst) {
    if (first < 0 || bytes < 0 || first > tensor->bytes || bytes > tensor->bytes - first)
        SY_FAIL(SY_ERR_USAGE, "%s: tensor \"%s\": bytes %" PRId64 " + %" PRId64 " wanted of %" PRId64,
                file->path, tensor->name, first, bytes, tensor->bytes);
    if (bytes == 0)
        return SY_OK;
    if (tensor->data) {
        memcpy(dst, (const char *)tensor->data + first, (size_t)bytes);
        return SY_OK;
    }
    return read_at(file, tensor->offset + first, bytes, dst);
}
