/* safetensors files to a store, or to a check alone: header against its hash, then each piece of each tensor
 * is read once, widened, digested, put. See internal.h.
 */
#include "ckpt/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "ckpt/hf_tensors.h"

struct shard {
    struct sy_ckpt_reading *r;
    char path[SY_CKPT_PATH_BYTES];
    struct sy_safetensors *file;
};

sy_status sy_ckpt_reading_begin(struct sy_ckpt_reading *r) {
    int n = r->params ? r->params->n_tensors : 0;
    SY_TRY(sy_ckpt_piece(r->store, &r->piece));
    r->seen = calloc((size_t)n + 1, 1);
    r->raw = malloc(4 * (size_t)r->piece);
    r->wide = malloc(4 * (size_t)r->piece);
    if (!r->seen || !r->raw || !r->wide)
        SY_FAIL(SY_ERR_MEMORY, "out of memory to read tensors in pieces of %" PRId64 " elements", r->piece);
    return SY_OK;
}

void sy_ckpt_reading_end(struct sy_ckpt_reading *r) {
    free(r->seen);
    free(r->raw);
    free(r->wide);
}

static float from_bf16(uint16_t h) {
    uint32_t bits = (uint32_t)h << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* IEEE half: exact in fp32; NaN payloads are kept. */
static float from_f16(uint16_t h) {
    uint32_t sign = (uint32_t)(h >> 15) << 31, exponent = h >> 10 & 31, fraction = h & 1023u, bits;
    float x;
    if (exponent == 31)
        bits = sign | 0x7f800000u | fraction << 13;
    else if (exponent > 0)
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    else {
        x = (float)fraction * 0x1p-24f; /* zero or subnormal */
        memcpy(&bits, &x, sizeof bits);
        bits |= sign;
    }
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void widen(enum sy_safetensors_dtype dtype, const char *from, int64_t n, float *to) {
    if (dtype == SY_SAFETENSORS_F32) {
        memcpy(to, from, 4 * (size_t)n);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, from + 2 * i, sizeof h);
        to[i] = dtype == SY_SAFETENSORS_BF16 ? from_bf16(h) : from_f16(h);
    }
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

static sy_status check_dtype(const struct shard *s, const struct sy_safetensors_tensor *t) {
    int half = t->dtype == SY_SAFETENSORS_BF16 || t->dtype == SY_SAFETENSORS_F16;
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

/* The digest that a tensor must have. The manifest's list and the tensors of the files have one order. */
static sy_status next_sum(const struct shard *s, const struct sy_safetensors_tensor *t,
                          const struct sy_ckpt_sum **out) {
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
    *out = &sums->item[s->r->n_checked++];
    return SY_OK;
}

/* Elements first .. first + n - 1 of a tensor of the file as the whole tensor i. i < 0: only checked. */
static sy_status read_elements(struct shard *s, const struct sy_safetensors_tensor *t, int64_t first,
                               int64_t n, int i, struct sy_digest *words) {
    struct sy_ckpt_reading *r = s->r;
    int64_t size = sy_safetensors_dtype_bytes(t->dtype);
    uint64_t id = i < 0 ? sy_fnv1a64(t->name) : r->params->tensor[i].id;
    for (int64_t at = 0; at < n; at += r->piece) {
        int64_t k = n - at < r->piece ? n - at : r->piece;
        SY_TRY(sy_safetensors_read(s->file, t, (first + at) * size, k * size, r->raw));
        widen(t->dtype, r->raw, k, r->wide);
        sy_ckpt_digest_add(id, at, r->wide, k, words, r->digest);
        struct sy_ckpt_range range = {r->kind, i, at, k};
        if (i >= 0)
            SY_TRY(r->store->put(r->store->self, &range, r->wide));
    }
    return SY_OK;
}

/* i < 0: only checked. */
static sy_status read_tensor(struct shard *s, const struct sy_safetensors_tensor *t, int i) {
    const struct sy_ckpt_sum *sum = NULL;
    struct sy_digest words = {{0, 0}};
    if (s->r->sums)
        SY_TRY(next_sum(s, t, &sum));
    if (i < 0 && !sum)
        return SY_OK;
    SY_TRY(read_elements(s, t, 0, t->n_elements, i, &words));
    return sum ? sy_ckpt_sum_check(sum, &words, s->path, t) : SY_OK;
}

/* Every expert's W1 and W3, or W2, in one tensor of a Hugging Face folder. */
static sy_status read_fused(struct shard *s, const struct sy_safetensors_tensor *t,
                            const struct sy_hf_fused *f) {
    int parts = f->is_down ? 1 : 2, first = f->first + (f->is_down ? 2 : 0);
    const struct sy_tensor *one = &s->r->params->tensor[first];
    const int64_t dims[3] = {f->experts, parts * one->dims[0], one->dims[1]};
    struct sy_digest words = {{0, 0}}; /* not looked at */
    SY_TRY(check_shape(s, t, 3, dims));
    SY_TRY(check_dtype(s, t));
    for (int k = 0; k < parts * f->experts; k++) {
        int i = first + 3 * (k / parts) + k % parts;
        SY_TRY(see(s, t, i));
        SY_TRY(read_elements(s, t, k * one->n, one->n, i, &words));
    }
    return SY_OK;
}

static sy_status read_or_skip(struct shard *s, const struct sy_safetensors_tensor *t) {
    struct sy_ckpt_reading *r = s->r;
    struct sy_hf_fused fused;
    if (!r->params)
        return read_tensor(s, t, -1);
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
    return status;
}
