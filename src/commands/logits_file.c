/* Files of logits: see logits_file.h. */
#include "commands/logits_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/halves.h"

void sy_id_lists_fini(struct sy_id_lists *s) {
    free(s->id);
    free(s->start);
    *s = (struct sy_id_lists){0};
}

sy_status sy_id_lists_add(struct sy_id_lists *s, const int32_t *id, int64_t n) {
    int64_t at = s->n ? s->start[s->n] : 0;
    int32_t *ids = realloc(s->id, (size_t)(at + n + 1) * sizeof *ids);
    s->id = ids ? ids : s->id;
    int64_t *start = realloc(s->start, (size_t)(s->n + 2) * sizeof *start);
    s->start = start ? start : s->start;
    if (!ids || !start)
        SY_FAIL(SY_ERR_MEMORY, "no memory for %" PRId64 " sequences", s->n + 1);
    if (n)
        memcpy(s->id + at, id, (size_t)n * sizeof *id);
    s->start[0] = 0;
    s->start[++s->n] = at + n;
    return SY_OK;
}

/* --- reading ------------------------------------------------------------------------------------------ */

struct sy_logits_file {
    char *path;
    int64_t vocab;
    struct sy_safetensors *file;
    struct sy_id_lists sequences;
    const struct sy_safetensors_tensor **logits; /* [sequences.n] */
};

static sy_status check_logits(const struct sy_logits_file *f, const struct sy_safetensors_tensor *ids,
                              const struct sy_safetensors_tensor **out) {
    char name[300];
    snprintf(name, sizeof name, "logits%.280s", ids->name + strlen("ids"));
    const struct sy_safetensors_tensor *t = sy_safetensors_find(f->file, name);
    if (!t)
        SY_FAIL(SY_ERR_DATA, "%s: tensor \"%.280s\" has no \"%s\" beside it", f->path, ids->name, name);
    if (t->n_dims != 2 || t->dims[0] != ids->n_elements || t->dims[1] != f->vocab) {
        char shape[128];
        sy_safetensors_shape(t, shape, sizeof shape);
        SY_FAIL(SY_ERR_DATA, "%s: tensor \"%s\" has shape %s, must be [%" PRId64 ", %" PRId64 "]", f->path,
                name, shape, ids->n_elements, f->vocab);
    }
    if (!sy_halves_can(t->dtype))
        SY_FAIL(SY_ERR_DATA, "%s: tensor \"%s\" is %s: must be F32, BF16 or F16", f->path, name,
                sy_safetensors_dtype_name(t->dtype));
    *out = t;
    return SY_OK;
}

static sy_status take_ids(const struct sy_logits_file *f, const struct sy_safetensors_tensor *t,
                          const char *raw, int32_t *id) {
    int bytes = t->dtype == SY_SAFETENSORS_I64 ? 8 : 4;
    for (int64_t i = 0; i < t->n_elements; i++) {
        int64_t x = 0;
        int32_t narrow = 0;
        memcpy(bytes == 8 ? (void *)&x : (void *)&narrow, raw + i * bytes, (size_t)bytes);
        x = bytes == 8 ? x : narrow;
        if (x < 0 || x >= f->vocab)
            SY_FAIL(SY_ERR_DATA,
                    "%s: tensor \"%.280s\": id %" PRId64 " at %" PRId64 ", must be in 0..%" PRId64, f->path,
                    t->name, x, i, f->vocab - 1);
        id[i] = (int32_t)x;
    }
    return SY_OK;
}

static sy_status read_ids(struct sy_logits_file *f, const struct sy_safetensors_tensor *t) {
    if (t->n_dims != 1 || t->n_elements < 1 ||
        (t->dtype != SY_SAFETENSORS_I64 && t->dtype != SY_SAFETENSORS_I32))
        SY_FAIL(SY_ERR_DATA, "%s: tensor \"%.280s\": must be I64 or I32 in one dimension, and not empty",
                f->path, t->name);
    SY_TRY(check_logits(f, t, &f->logits[f->sequences.n]));
    char *raw = malloc((size_t)t->bytes);
    int32_t *id = malloc((size_t)t->n_elements * sizeof *id);
    sy_status status = raw && id ? sy_safetensors_read(f->file, t, 0, t->bytes, raw)
                                 : sy_fail(SY_ERR_MEMORY, "%s: no memory for its ids", f->path);
    if (status == SY_OK)
        status = take_ids(f, t, raw, id);
    if (status == SY_OK)
        status = sy_id_lists_add(&f->sequences, id, t->n_elements);
    free(raw);
    free(id);
    return status;
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const struct sy_safetensors_tensor *const *)a)->name,
                  (*(const struct sy_safetensors_tensor *const *)b)->name);
}

/* Sequences in the order of their names. */
static sy_status read_all(struct sy_logits_file *f) {
    int64_t n = sy_safetensors_count(f->file), found = 0;
    const struct sy_safetensors_tensor **ids = calloc((size_t)n + 1, sizeof *ids);
    f->logits = calloc((size_t)n + 1, sizeof *f->logits);
    sy_status status = ids && f->logits ? SY_OK : sy_fail(SY_ERR_MEMORY, "%s: out of memory", f->path);
    for (int64_t i = 0; i < n && status == SY_OK; i++) {
        const struct sy_safetensors_tensor *t = sy_safetensors_at(f->file, i);
        if (strncmp(t->name, "ids", 3) == 0)
            ids[found++] = t;
    }
    if (found > 1)
        qsort(ids, (size_t)found, sizeof *ids, by_name);
    if (status == SY_OK && found == 0)
        status = sy_fail(SY_ERR_DATA, "%s: no tensor \"ids…\": it is no file of logits", f->path);
    for (int64_t i = 0; i < found && status == SY_OK; i++)
        status = read_ids(f, ids[i]);
    free(ids);
    return status;
}

sy_status sy_logits_file_open(const char *path, int64_t vocab, struct sy_logits_file **out) {
    struct sy_logits_file *f = calloc(1, sizeof *f);
    if (!f || !(f->path = strdup(path))) {
        free(f);
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", path);
    }
    f->vocab = vocab;
    sy_status status = sy_safetensors_open(path, &f->file);
    if (status == SY_OK)
        status = read_all(f);
    if (status != SY_OK) {
        sy_logits_file_close(f);
        return status;
    }
    *out = f;
    return SY_OK;
}

void sy_logits_file_close(struct sy_logits_file *f) {
    if (!f)
        return;
    sy_safetensors_close(f->file);
    sy_id_lists_fini(&f->sequences);
    free(f->logits);
    free(f->path);
    free(f);
}

const struct sy_id_lists *sy_logits_file_sequences(const struct sy_logits_file *f) { return &f->sequences; }

sy_status sy_logits_file_read(const struct sy_logits_file *f, int64_t sequence, int64_t first, int64_t n,
                              float *out) {
    const struct sy_safetensors_tensor *t = f->logits[sequence];
    int64_t row = f->vocab * sy_safetensors_dtype_bytes(t->dtype);
    if (t->dtype == SY_SAFETENSORS_F32)
        return sy_safetensors_read(f->file, t, first * row, n * row, out);
    char *raw = malloc((size_t)(n * row));
    sy_status status = raw ? sy_safetensors_read(f->file, t, first * row, n * row, raw)
                           : sy_fail(SY_ERR_MEMORY, "%s: no memory for its logits", f->path);
    if (status == SY_OK)
        sy_halves_widen(t->dtype, raw, n * f->vocab, out);
    free(raw);
    return status;
}

/* --- writing ------------------------------------------------------------------------------------------ */

static sy_status declare(struct sy_safetensors_writer *w, const struct sy_logits_header *h,
                         const struct sy_id_lists *s) {
    char name[32];
    SY_TRY(sy_safetensors_writer_metadata(w, "class", h->numeric_class));
    SY_TRY(sy_safetensors_writer_metadata(w, "format", "switchyard logits 1"));
    SY_TRY(sy_safetensors_writer_metadata(w, "weights_digest", h->digest));
    for (int64_t i = 0; i < s->n; i++) {
        int64_t n = s->start[i + 1] - s->start[i];
        snprintf(name, sizeof name, "ids.%06" PRId64, i);
        SY_TRY(sy_safetensors_writer_declare(w, name, SY_SAFETENSORS_I64, 1, &n));
    }
    for (int64_t i = 0; i < s->n; i++) {
        int64_t dims[2] = {s->start[i + 1] - s->start[i], h->vocab};
        snprintf(name, sizeof name, "logits.%06" PRId64, i);
        SY_TRY(sy_safetensors_writer_declare(w, name, SY_SAFETENSORS_F32, 2, dims));
    }
    for (int64_t i = 0; i < s->start[s->n]; i++)
        SY_TRY(sy_safetensors_writer_write(w, &(int64_t){s->id[i]}, sizeof(int64_t)));
    return SY_OK;
}

sy_status sy_logits_file_begin(const char *path, const struct sy_logits_header *h,
                               const struct sy_id_lists *s, struct sy_safetensors_writer **out) {
    struct sy_safetensors_writer *w = NULL;
    SY_TRY(sy_safetensors_writer_open(path, &w));
    sy_status status = declare(w, h, s);
    if (status != SY_OK) {
        sy_safetensors_writer_abandon(w);
        return status;
    }
    *out = w;
    return SY_OK;
}
