/* Tensors to safetensors files: whole tensors in bytewise order of their names, a new file when the next
 * tensor would make it too large. Which tensor is in which file depends on names, shapes and the bound alone.
 * One rank lays the files out, with their headers; then each writes its own parts of the tensors, at their
 * places. See internal.h.
 */
#include "ckpt/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of a header's fixed part and of one tensor's entry beside its name, at most. */
enum { HEADER_BYTES = 256, ENTRY_BYTES = 160 };

sy_status sy_ckpt_piece(const struct sy_ckpt_store *store, int64_t *piece) {
    *piece = store && store->piece ? store->piece : SY_CKPT_PIECE;
    if (*piece < 0 || *piece > SY_CKPT_MAX_PIECE || *piece % SY_CKPT_PIECE_UNIT)
        SY_FAIL(SY_ERR_USAGE, "a store's piece of %" PRId64 " elements: must be a multiple of %d up to %d",
                *piece, (int)SY_CKPT_PIECE_UNIT, (int)SY_CKPT_MAX_PIECE);
    return SY_OK;
}

void sy_ckpt_shards_free(struct sy_ckpt_shards *s) {
    free(s->tensor);
    free(s->end);
    free(s->buffer);
}

static enum sy_safetensors_dtype dtype_of(const struct sy_ckpt_shards *s, int tensor) {
    const struct sy_params *p = s->params;
    return p->param[p->tensor[tensor].param].kind == SY_PARAM_BUFFER ? SY_SAFETENSORS_F32 : s->dtype;
}

sy_status sy_ckpt_shards_plan(struct sy_ckpt_shards *s, int64_t max_file_bytes) {
    const struct sy_params *p = s->params;
    SY_TRY(sy_ckpt_piece(s->store, &s->piece));
    s->tensor = malloc(((size_t)p->n_tensors + 1) * sizeof *s->tensor);
    s->end = malloc(((size_t)p->n_tensors + 1) * sizeof *s->end);
    s->buffer = malloc(4 * (size_t)s->piece);
    if (!s->tensor || !s->end || !s->buffer)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for a list of %d tensors and a piece of one", p->n_tensors);
    int64_t bytes = HEADER_BYTES;
    for (int i = 0; i < p->n_tensors; i++) {
        const struct sy_tensor *t = &p->tensor[p->by_name[i]];
        if (!sy_ckpt_has(p, s->kind, p->by_name[i]))
            continue;
        int64_t data = t->n * sy_safetensors_dtype_bytes(dtype_of(s, p->by_name[i])),
                more = data + (int64_t)strlen(t->name) + ENTRY_BYTES;
        if (bytes > HEADER_BYTES && bytes + more > max_file_bytes) {
            s->end[s->n_files++] = s->n_tensors;
            bytes = HEADER_BYTES;
        }
        s->tensor[s->n_tensors++] = p->by_name[i];
        s->bytes += data;
        bytes += more;
    }
    s->end[s->n_files++] = s->n_tensors;
    return SY_OK;
}

/* ---- a file ---- */

static int first_of(const struct sy_ckpt_shards *s, int k) { return k ? s->end[k - 1] : 0; }

static sy_status name_of(const struct sy_ckpt_shards *s, int k, char name[SY_CKPT_NAME_BYTES],
                         char path[SY_CKPT_PATH_BYTES]) {
    snprintf(name, SY_CKPT_NAME_BYTES, "%s-%05d-of-%05d.safetensors", sy_ckpt_kind_prefix(s->kind), k + 1,
             s->n_files);
    return sy_ckpt_join(path, s->folder, name);
}

static sy_status declare(const struct sy_ckpt_shards *s, int k, struct sy_safetensors_writer *w) {
    SY_TRY(sy_safetensors_writer_metadata(w, "format", "pt")); /* transformers wants to be told */
    for (int i = first_of(s, k); i < s->end[k]; i++) {
        const struct sy_tensor *t = &s->params->tensor[s->tensor[i]];
        SY_TRY(sy_safetensors_writer_declare(w, t->name, dtype_of(s, s->tensor[i]), t->n_dims, t->dims));
    }
    return SY_OK;
}

static sy_status lay_file(const struct sy_ckpt_shards *s, int k, struct sy_ckpt_files *files, json_t *map) {
    char name[SY_CKPT_NAME_BYTES], path[SY_CKPT_PATH_BYTES];
    struct sy_safetensors_writer *w = NULL;
    struct sy_safetensors_written written;
    SY_TRY(name_of(s, k, name, path));
    for (int i = first_of(s, k); map && i < s->end[k]; i++)
        if (json_object_set_new(map, s->params->tensor[s->tensor[i]].name, json_string(name)) != 0)
            SY_FAIL(SY_ERR_MEMORY, "out of memory for the index of tensors");
    SY_TRY(sy_safetensors_writer_open(path, &w));
    sy_status status = declare(s, k, w);
    if (status != SY_OK) {
        sy_safetensors_writer_abandon(w);
        return status;
    }
    SY_TRY(sy_safetensors_writer_lay(w, &written));
    return sy_ckpt_files_add(files, name, written.bytes, written.header_hash, 1);
}

sy_status sy_ckpt_shards_lay(const struct sy_ckpt_shards *s, struct sy_ckpt_files *files, json_t *map) {
    for (int k = 0; k < s->n_files; k++)
        SY_TRY(lay_file(s, k, files, map));
    return SY_OK;
}

/* ---- this rank's parts ---- */

/* What this rank writes of the plan's tensor i. */
static struct sy_ckpt_part part_of(const struct sy_ckpt_shards *s, int i) {
    struct sy_ckpt_part part = sy_ckpt_part(s->store, s->params, s->kind, s->tensor[i]);
    part.n = part.answers ? part.n : 0;
    return part;
}

/* What comes after elements up to `at` of the plan's tensor i; n = 0: nothing. */
static struct sy_ckpt_range next_piece(const struct sy_ckpt_shards *s, int i, int64_t at) {
    struct sy_ckpt_part part = part_of(s, i);
    while (at >= part.first + part.n && ++i < s->n_tensors) {
        part = part_of(s, i);
        at = part.first;
    }
    int64_t left = i < s->n_tensors ? part.first + part.n - at : 0;
    return (struct sy_ckpt_range){s->kind, left ? s->tensor[i] : 0, at, left < s->piece ? left : s->piece};
}

static void look_ahead(const struct sy_ckpt_shards *s, int i, int64_t at) {
    struct sy_ckpt_range next = next_piece(s, i, at);
    if (s->store->ahead && next.n > 0)
        s->store->ahead(s->store->self, &next);
}

/* A piece at a time: each goes to the file and into the digests as it passes. */
static sy_status put_part(struct sy_ckpt_shards *s, int i, int place, struct sy_safetensors_writer *w) {
    const struct sy_tensor *t = &s->params->tensor[s->tensor[i]];
    struct sy_ckpt_part part = part_of(s, i);
    for (int64_t at = part.first, end = part.first + part.n; at < end; at += s->piece) {
        int64_t n = end - at < s->piece ? end - at : s->piece;
        struct sy_ckpt_range range = {s->kind, s->tensor[i], at, n};
        SY_TRY(s->store->get(s->store->self, &range, s->buffer));
        look_ahead(s, i, at + n);
        sy_ckpt_digest_add(t->id, at, s->buffer, n, &s->words[i], s->folded);
        SY_TRY(sy_safetensors_writer_write_at(w, place, 4 * at, s->buffer, 4 * (size_t)n));
        s->written += 4 * n;
    }
    return SY_OK;
}

static sy_status write_parts(struct sy_ckpt_shards *s, int k, struct sy_safetensors_writer *w) {
    for (int i = first_of(s, k); i < s->end[k]; i++)
        SY_TRY(put_part(s, i, i - first_of(s, k), w));
    return SY_OK;
}

enum sy_safetensors_dtype sy_ckpt_shards_dtype(const struct sy_ckpt_shards *s, int i) {
    return dtype_of(s, s->tensor[i]);
}

struct sy_ckpt_place sy_ckpt_shards_place(const struct sy_ckpt_shards *s, int i) {
    int low = 0, high = s->n_files - 1; /* the first file that ends behind it */
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (s->end[middle] > i)
            high = middle;
        else
            low = middle + 1;
    }
    return (struct sy_ckpt_place){low, i - first_of(s, low)};
}

sy_status sy_ckpt_shards_join(const struct sy_ckpt_shards *s, int file, struct sy_safetensors_writer **out) {
    char name[SY_CKPT_NAME_BYTES], path[SY_CKPT_PATH_BYTES];
    struct sy_safetensors_writer *w = NULL;
    SY_TRY(name_of(s, file, name, path));
    SY_TRY(sy_safetensors_writer_join(path, &w));
    sy_status status = declare(s, file, w);
    if (status != SY_OK) {
        sy_safetensors_writer_abandon(w);
        return status;
    }
    *out = w;
    return SY_OK;
}

static sy_status write_file(struct sy_ckpt_shards *s, int k) {
    struct sy_safetensors_writer *w = NULL;
    int any = 0;
    for (int i = first_of(s, k); i < s->end[k]; i++)
        any |= part_of(s, i).n > 0;
    if (!any)
        return SY_OK;
    SY_TRY(sy_ckpt_shards_join(s, k, &w));
    sy_status status = write_parts(s, k, w);
    if (status != SY_OK) {
        sy_safetensors_writer_abandon(w);
        return status;
    }
    return sy_safetensors_writer_finish(w, 1, NULL);
}

sy_status sy_ckpt_shards_write(struct sy_ckpt_shards *s) {
    for (int k = 0; k < s->n_files; k++)
        SY_TRY(write_file(s, k));
    return SY_OK;
}
