/* The rules of a safetensors header: see safetensors.h.
 *
 * Each entry by itself first (keys, dtype, shape, offsets against the file, dtype x shape against the
 * offsets); then all together, sorted by offset: each must begin where the one before ended, the last must
 * end where the file ends.
 */
#include "formats/safetensors_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static sy_status bad_tensor(const struct sy_safetensors *file, const char *name, const char *why) {
    SY_FAIL(SY_ERR_DATA, "%s: tensor \"%.200s\": %s", file->path, name, why);
}

static sy_status parse_dtype(const struct sy_safetensors *file, const char *name, json_t *entry,
                             struct sy_safetensors_tensor *tensor) {
    const char *text = json_string_value(json_object_get(entry, "dtype"));
    if (!text)
        return bad_tensor(file, name, "no string \"dtype\"");
    for (int i = 0; i < SY_SAFETENSORS_DTYPES; i++)
        if (strcmp(text, sy_safetensors_dtype_name((enum sy_safetensors_dtype)i)) == 0) {
            tensor->dtype = (enum sy_safetensors_dtype)i;
            return SY_OK;
        }
    SY_FAIL(SY_ERR_DATA, "%s: tensor \"%.200s\": dtype \"%.40s\" is not known", file->path, name, text);
}

/* Dims, their product and the product in bytes, which must fit int64. */
static sy_status parse_shape(const struct sy_safetensors *file, const char *name, json_t *entry,
                             struct sy_safetensors_tensor *tensor) {
    json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape))
        return bad_tensor(file, name, "no array \"shape\"");
    size_t n = json_array_size(shape);
    if (n > SY_SAFETENSORS_MAX_DIMS)
        SY_FAIL(SY_ERR_DATA, "%s: tensor \"%.200s\": %zu dims, at most %d are supported", file->path, name, n,
                SY_SAFETENSORS_MAX_DIMS);
    tensor->n_dims = (int)n;
    int64_t product = 1;
    for (size_t i = 0; i < n; i++) {
        json_t *dim = json_array_get(shape, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return bad_tensor(file, name, "a dim of \"shape\" is not an integer >= 0");
        tensor->dims[i] = json_integer_value(dim);
        if (__builtin_mul_overflow(product, tensor->dims[i], &product))
            return bad_tensor(file, name, "shape: the number of elements overflows 64 bits");
    }
    tensor->n_elements = product;
    int64_t bits = 0;
    if (__builtin_mul_overflow(product, (int64_t)sy_safetensors_dtype_bits(tensor->dtype), &bits))
        return bad_tensor(file, name, "dtype x shape overflows 64 bits");
    if (bits % 8)
        return bad_tensor(file, name, "dtype x shape ends within a byte");
    tensor->bytes = bits / 8;
    return SY_OK;
}

static sy_status parse_offsets(const struct sy_safetensors *file, const char *name, json_t *entry,
                               int64_t data_start, struct sy_safetensors_tensor *tensor) {
    json_t *offsets = json_object_get(entry, "data_offsets");
    json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return bad_tensor(file, name, "no \"data_offsets\" of two integers");
    int64_t begin = json_integer_value(first), end = json_integer_value(last);
    if (begin < 0 || end < begin || end > file->bytes - data_start)
        SY_FAIL(SY_ERR_DATA,
                "%s: tensor \"%.200s\": data_offsets %" PRId64 " … %" PRId64 " outside the %" PRId64
                " bytes of data",
                file->path, name, begin, end, file->bytes - data_start);
    if (end - begin != tensor->bytes)
        SY_FAIL(SY_ERR_DATA,
                "%s: tensor \"%.200s\": dtype x shape is %" PRId64 " bytes, data_offsets hold %" PRId64,
                file->path, name, tensor->bytes, end - begin);
    tensor->offset = data_start + begin;
    tensor->data = file->memory ? file->memory + tensor->offset : NULL;
    return SY_OK;
}

static sy_status parse_tensor(const struct sy_safetensors *file, const char *name, json_t *entry,
                              int64_t data_start, struct sy_safetensors_tensor *tensor) {
    if (!json_is_object(entry))
        return bad_tensor(file, name, "its entry is not an object");
    tensor->name = name;
    SY_TRY(parse_dtype(file, name, entry, tensor));
    SY_TRY(parse_shape(file, name, entry, tensor));
    SY_TRY(parse_offsets(file, name, entry, data_start, tensor));
    if (json_object_size(entry) != 3)
        return bad_tensor(file, name, "keys other than dtype, shape and data_offsets");
    return SY_OK;
}

static sy_status parse_metadata(struct sy_safetensors *file, json_t *metadata) {
    if (!json_is_object(metadata))
        SY_FAIL(SY_ERR_DATA, "%s: __metadata__ is not an object", file->path);
    file->metadata = calloc(json_object_size(metadata) + 1, sizeof *file->metadata);
    if (!file->metadata)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", file->path);
    const char *key;
    json_t *value;
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value))
            SY_FAIL(SY_ERR_DATA, "%s: __metadata__: \"%.200s\" is not a string", file->path, key);
        file->metadata[file->n_metadata].key = key;
        file->metadata[file->n_metadata++].value = json_string_value(value);
    }
    return SY_OK;
}

static int by_offset(const void *a, const void *b) {
    const struct sy_safetensors_tensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes) /* empty tensors stand before the one that begins at the same place */
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b) {
    const struct sy_safetensors_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* Sorted by offset, each tensor begins where the one before ended. */
static sy_status check_contiguous(const struct sy_safetensors *file, int64_t data_start) {
    int64_t at = data_start;
    for (int64_t i = 0; i < file->n_tensors; i++) {
        const struct sy_safetensors_tensor *tensor = &file->tensors[i];
        if (tensor->offset != at)
            SY_FAIL(SY_ERR_DATA,
                    "%s: tensor \"%.200s\" begins at byte %" PRId64
                    " of the data, the one before ends at %" PRId64 ": %s",
                    file->path, tensor->name, tensor->offset - data_start, at - data_start,
                    tensor->offset > at ? "a hole" : "an overlap");
        at += tensor->bytes;
    }
    if (at != file->bytes)
        SY_FAIL(SY_ERR_DATA, "%s: %" PRId64 " bytes after the last tensor", file->path, file->bytes - at);
    return SY_OK;
}

sy_status sy_safetensors_header_parse(struct sy_safetensors *file, const char *header, size_t bytes) {
    if (bytes == 0 || header[0] != '{')
        SY_FAIL(SY_ERR_DATA, "%s: the header does not begin with '{': not a safetensors file?", file->path);
    SY_TRY(sy_json_parse(file->path, header, bytes, 3, &file->header));
    int64_t data_start = 8 + (int64_t)bytes;
    size_t n = json_object_size(file->header);
    file->tensors = calloc(n + 1, sizeof *file->tensors);
    file->by_name = calloc(n + 1, sizeof *file->by_name);
    if (!file->tensors || !file->by_name)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory for %zu tensors", file->path, n);
    const char *name;
    json_t *entry;
    json_object_foreach(file->header, name, entry) {
        if (strcmp(name, "__metadata__") == 0) {
            SY_TRY(parse_metadata(file, entry));
            continue;
        }
        SY_TRY(parse_tensor(file, name, entry, data_start, &file->tensors[file->n_tensors]));
        file->n_tensors++;
    }
    qsort(file->tensors, (size_t)file->n_tensors, sizeof *file->tensors, by_offset);
    for (int64_t i = 0; i < file->n_tensors; i++)
        file->by_name[i] = &file->tensors[i];
    qsort(file->by_name, (size_t)file->n_tensors, sizeof *file->by_name, by_name);
    return check_contiguous(file, data_start);
}
