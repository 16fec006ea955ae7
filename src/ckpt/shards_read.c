/* safetensors files to a store, or to a check alone: header against its hash, then of each tensor this rank's
 * part, a piece at a time: read once, widened, digested, put. What all ranks digested is added up at the end
 * of a kind, and compared. See internal.h.
 */
#include "ckpt/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "ckpt/hf_fp8.h"
#include "ckpt/hf_tensors.h"
#include "formats/halves.h"
#include "parallel/shard.h"

struct shard {
    struct sy_ckpt_reading *r;
    char path[SY_CKPT_PATH_BYTES];
    struct sy_safetensors *file;
};

sy_status sy_ckpt_reading_begin(struct sy_ckpt_reading *r) {
    int n = r->params ? r->params->n_tensors : 0;
    size_t n_sums = r->sums ? (size_t)r->sums->n : 0;
    SY_TRY(sy_ckpt_piece(r->store, &r->piece));
    r->words = calloc(n_sums + 1, sizeof *r->words);
    r->spot = calloc(n_sums + 1, sizeof *r->spot);
    r->seen = calloc((size_t)n + 1, 1);
    r->raw = malloc(4 * (size_t)r->piece);
    r->wide = malloc(4 * (size_t)r->piece);
    if (!r->words || !r->spot || !r->seen || !r->raw || !r->wide)
        SY_FAIL(SY_ERR_MEMORY, "out of memory to read tensors in pieces of %" PRId64 " elements", r->piece);
    r->folded = &r->words[n_sums];
    return SY_OK;
}

void sy_ckpt_reading_end(struct sy_ckpt_reading *r) {
    free(r->words);
    free(r->spot);
    free(r->seen);
    free(r->raw);
    free(r->wide);
}

static void print_shape(int n_dims, const int64_t *dims, char *out, size_t size) {
    size_t n = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < n_dims && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%" PRId64, i ? ", " : "", dims[i]);
    if (n < size)
        snprintf(out + n, size - n, "]");
}

static sy_status check_shape(const struct shard *s, const struct sy_safetensors_tensor *t, int n_dims,
                             const int64_t *dims) {
    char is[256], wanted[64];
    int same = t->n_dims == n_dims;
    for (int d = 0; same && d < n_dims; d++)
        same = t->dims[d] == dims[d];
    print_shape(t->n_dims, t->dims, is, sizeof is);
    print_shape(n_dims, dims, wanted, sizeof wanted);
    if (!same)
        SY_FAIL(SY_ERR_DATA, "%s: tensor \"%s\" has shape %s, the model's is %s", s->path, t->name, is,
                wanted);
    return SY_OK;
}

/* A matrix of 8 bits with scales elsewhere. */
static int is_fp8(const struct shard *s, const struct sy_safetensors_tensor *t) {
    return s->r->fp8 && t->dtype == SY_SAFETENSORS_F8_E4M3 && t->n_dims == 2;
}

static sy_status check_dtype(const struct shard *s, const struct sy_safetensors_tensor *t) {
    int half = t->dtype == SY_SAFETENSORS_BF16 || t->dtype == SY_SAFETENSORS_F16;
    if (is_fp8(s, t))
        return sy_hf_fp8_begin(s->r->fp8, s->path, t);
    if (t->dtype != SY_SAFETENSORS_F32 && (s->r->exact || !half))
        SY_FAIL(SY_ERR_DATA, "%s: tensor \"%s\" is %s: %s", s->path, t->name,
                sy_safetensors_dtype_name(t->dtype),
                s->r->exact ? "must be F32" : "only F32, BF16 and F16 can be read");
    return SY_OK;
}

static sy_status see(const struct shard *s, const struct sy_safetensors_tensor *t, int i) {
    if (s->r->seen[i])
        SY_FAIL(SY_ERR_DATA, "%s: tensor \"%s\" is there twice, here as \"%s\"", s->path,
                s->r->params->tensor[i].name, t->name);
    s->r->seen[i] = 1;
    return SY_OK;
}

/* Where the digest of a tensor that must have one is added up. The manifest's list and the tensors of the
 * files have one order. */
static sy_status next_sum(const struct shard *s, const struct sy_safetensors_tensor *t,
                          struct sy_digest **words) {
    const struct sy_ckpt_sums *sums = s->r->sums;
    int k = sy_ckpt_sums_find(sums, t->name);
    if (k < 0)
        SY_FAIL(SY_ERR_DATA, "%s: tensor \"%s\" has no digest in %s", s->path, t->name, SY_CKPT_MANIFEST);
    if (k != s->r->n_checked)
        SY_FAIL(SY_ERR_DATA, "%s: tensor \"%s\" stands where \"%s\" should", s->path, t->name,
                s->r->n_checked < sums->n ? sums->item[s->r->n_checked].name : "none");
    if (t->dtype != SY_SAFETENSORS_F32)
        SY_FAIL(SY_ERR_DATA, "%s: tensor \"%s\" is %s: must be F32", s->path, t->name,
                sy_safetensors_dtype_name(t->dtype));
    s->r->spot[k] = (struct sy_ckpt_spot){s->r->file, t->offset, t->bytes};
    *words = &s->r->words[s->r->n_checked++];
    return SY_OK;
}

/* This rank's even share of a tensor that is only checked. */
static struct sy_ckpt_part share_of(const struct sy_comm *c, int64_t n) {
    struct sy_range_of own = sy_shard_range(&(struct sy_shard){c->rank, c->size}, n);
    return (struct sy_ckpt_part){own.first, own.n, 1};
}

/* A tensor of the model, or of nobody, in a tensor of the file, from element `first` of it on. */
struct piece_of {
    const struct sy_safetensors_tensor *file;
    int64_t first;
    int tensor; /* of the model; -1: only checked */
};

static sy_status read_piece(struct shard *s, const struct piece_of *q, int64_t at, int64_t n) {
    struct sy_ckpt_reading *r = s->r;
    int64_t size = sy_safetensors_dtype_bytes(q->file->dtype);
    SY_TRY(sy_safetensors_read(s->file, q->file, (q->first + at) * size, n * size, r->raw));
    if (is_fp8(s, q->file))
        sy_hf_fp8_widen(r->fp8, (const unsigned char *)r->raw, q->first + at, n, r->wide);
    else
        sy_halves_widen(q->file->dtype, r->raw, n, r->wide);
    return SY_OK;
}

/* This rank's part of the n elements; their digest onto `words`, which may be NULL. */
static sy_status read_part(struct shard *s, const struct piece_of *q, int64_t n, struct sy_digest *words) {
    struct sy_ckpt_reading *r = s->r;
    struct sy_digest unused = {{0, 0}};
    int i = q->tensor;
    struct sy_ckpt_part part = i < 0 ? share_of(r->comm, n) : sy_ckpt_part(r->store, r->params, r->kind, i);
    uint64_t id = i < 0 ? sy_fnv1a64(q->file->name) : r->params->tensor[i].id;
    for (int64_t at = part.first, end = part.first + part.n; at < end; at += r->piece) {
        int64_t k = end - at < r->piece ? end - at : r->piece;
        struct sy_ckpt_range range = {r->kind, i, at, k};
        SY_TRY(read_piece(s, q, at, k));
        if (part.answers)
            sy_ckpt_digest_add(id, at, r->wide, k, words ? words : &unused, r->folded);
        if (i >= 0)
            SY_TRY(r->store->put(r->store->self, &range, r->wide));
    }
    return SY_OK;
}

/* i < 0: only checked. */
static sy_status read_tensor(struct shard *s, const struct sy_safetensors_tensor *t, int i) {
    struct sy_digest *words = NULL;
    if (s->r->sums)
        SY_TRY(next_sum(s, t, &words));
    return i < 0 && !words ? SY_OK : read_part(s, &(struct piece_of){t, 0, i}, t->n_elements, words);
}

/* Every expert's W1 and W3, or W2, in one tensor of a Hugging Face folder. */
static sy_status read_fused(struct shard *s, const struct sy_safetensors_tensor *t,
                            const struct sy_hf_fused *f) {
    int parts = f->is_down ? 1 : 2, first = f->first + (f->is_down ? 2 : 0);
    const struct sy_tensor *one = &s->r->params->tensor[first];
    const int64_t dims[3] = {f->experts, parts * one->dims[0], one->dims[1]};
    SY_TRY(check_shape(s, t, 3, dims));
    SY_TRY(check_dtype(s, t));
    for (int k = 0; k < parts * f->experts; k++) {
        int i = first + 3 * (k / parts) + k % parts;
        SY_TRY(see(s, t, i));
        SY_TRY(read_part(s, &(struct piece_of){t, k * one->n, i}, one->n, NULL));
    }
    return SY_OK;
}

/* The head of tied embeddings: sy_hf_tied_check looks at it. */
static int is_site(const struct sy_ckpt_reading *r, const char *name) {
    return !r->exact && r->params->n_sites > 0 &&
           strcmp(name, r->params->tensor[r->params->n_tensors].name) == 0;
}

static sy_status read_or_skip(struct shard *s, const struct sy_safetensors_tensor *t) {
    struct sy_ckpt_reading *r = s->r;
    struct sy_hf_fused fused;
    if (!r->params)
        return read_tensor(s, t, -1);
    if (is_site(r, t->name) || (r->fp8 && sy_hf_fp8_is_scale(t->name)))
        return SY_OK;
    int i = sy_hf_tensor_find(r->params, t->name);
    if (i < 0 && !r->exact) {
        if (sy_hf_tensor_is_fused(r->params, t->name, &fused))
            return read_fused(s, t, &fused);
        i = sy_hf_tensor_alias(r->params, t->name);
    }
    if (i >= 0 && !sy_ckpt_has(r->params, r->kind, i))
        i = -1;
    if (i < 0 && r->exact)
        SY_FAIL(SY_ERR_DATA, "%s: tensor \"%s\" is not one of the model's", s->path, t->name);
    if (i < 0) {
        if (!r->n_unknown++)
            snprintf(r->first_unknown, sizeof r->first_unknown, "%s", t->name);
    } else {
        SY_TRY(see(s, t, i));
        SY_TRY(check_shape(s, t, r->params->tensor[i].n_dims, r->params->tensor[i].dims));
        SY_TRY(check_dtype(s, t));
    }
    return read_tensor(s, t, i);
}

sy_status sy_ckpt_shard_read(struct sy_ckpt_reading *reading, const char *folder,
                             const struct sy_ckpt_file *record) {
    struct shard s = {.r = reading};
    int64_t bytes = 0;
    SY_TRY(sy_ckpt_join(s.path, folder, record->name));
    SY_TRY(sy_ckpt_file_size(s.path, &bytes));
    if (*record->hash)
        SY_TRY(sy_ckpt_check_file(folder, record));
    SY_TRY(sy_safetensors_open(s.path, &s.file));
    sy_status status = SY_OK;
    for (int64_t i = 0; i < sy_safetensors_count(s.file) && status == SY_OK; i++)
        status = read_or_skip(&s, sy_safetensors_at(s.file, i));
    sy_safetensors_close(s.file);
    reading->file++;
    return status;
}

sy_status sy_ckpt_reading_compare(struct sy_ckpt_reading *r, sy_status mine, const char *folder,
                                  const struct sy_ckpt_files *files) {
    char path[SY_CKPT_PATH_BYTES];
    int n = r->sums ? r->sums->n : 0;
    SY_TRY(r->comm->ops->sum_i64(r->comm, mine, (int64_t *)r->words, 2 * (n + 1)));
    for (int k = 0; k < n; k++) {
        const struct sy_ckpt_spot *spot = &r->spot[k];
        SY_TRY(sy_ckpt_join(path, folder, files->item[spot->file].name));
        SY_TRY(sy_ckpt_sum_check(&r->sums->item[k], &r->words[k], path, spot->offset, spot->bytes));
    }
    return SY_OK;
}
