/* safetensors files to the flat buffers: each byte is read once, hashed, widened, digested. See internal.h.
 */
#include "ckpt/internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ckpt/hf_tensors.h"

enum { PIECE = 1 << 20 }; /* bytes; a multiple of every dtype's size */

struct shard {
    struct sy_ckpt_reading *r;
    char path[SY_CKPT_PATH_BYTES];
    struct sy_safetensors *file;
    XXH3_state_t *hash; /* of the whole file */
    char *piece;
};

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

static sy_status check_shape(const struct shard *s, const struct sy_safetensors_tensor *t, int n_dims, const int64_t *dims) {
    char is[256], wanted[64];
    int same = t->n_dims == n_dims;
    for (int d = 0; same && d < n_dims; d++)
        same = t->dims[d] == dims[d];
    print_shape(t->n_dims, t->dims, is, sizeof is);
    print_shape(n_dims, dims, wanted, sizeof wanted);
    if (!same)
        SY_FAIL(SY_ERR_DATA, "%s: tensor \"%s\" has shape %s, the model's is %s", s->path, t->name, is, wanted);
    return SY_OK;
}

static sy_status check_dtype(const struct shard *s, const struct sy_safetensors_tensor *t) {
    int half = t->dtype == SY_SAFETENSORS_BF16 || t->dtype == SY_SAFETENSORS_F16;
    if (t->dtype != SY_SAFETENSORS_F32 && (s->r->exact || !half))
        SY_FAIL(SY_ERR_DATA, "%s: tensor \"%s\" is %s: %s", s->path, t->name, sy_safetensors_dtype_name(t->dtype),
                s->r->exact ? "must be F32" : "only F32, BF16 and F16 can be read");
    return SY_OK;
}

static sy_status see(const struct shard *s, const struct sy_safetensors_tensor *t, int i) {
    if (s->r->seen[i])
        SY_FAIL(SY_ERR_DATA, "%s: tensor \"%s\" is there twice, here as \"%s\"", s->path, s->r->params->tensor[i].name,
                t->name);
    s->r->seen[i] = 1;
    return SY_OK;
}

/* Reads n bytes from `at` on as the whole tensor i; i < 0: only hashes them. */
static sy_status read_bytes(struct shard *s, const struct sy_safetensors_tensor *t, int64_t at, int64_t n, int i) {
    int64_t size = sy_safetensors_dtype_bytes(t->dtype), first = at, end = at + n;
    float *to = i < 0 ? NULL : s->r->data + s->r->params->tensor[i].offset;
    if (i < 0 && !s->hash)
        return SY_OK;
    for (; at < end; at += PIECE) {
        int64_t bytes = end - at < PIECE ? end - at : PIECE, done = (at - first) / size;
        SY_TRY(sy_safetensors_read(s->file, t, at, bytes, s->piece));
        if (s->hash)
            XXH3_128bits_update(s->hash, s->piece, (size_t)bytes);
        if (i < 0)
            continue;
        widen(t->dtype, s->piece, bytes / size, to + done);
        if (s->r->digest)
            sy_digest_add_f32(s->r->digest, s->r->params->tensor[i].id, (uint64_t)done, to + done, (size_t)(bytes / size));
    }
    return SY_OK;
}

/* Every expert's W1 and W3, or W2, in one tensor of a Hugging Face folder. */
static sy_status read_fused(struct shard *s, const struct sy_safetensors_tensor *t, const struct sy_hf_fused *f) {
    int parts = f->is_down ? 1 : 2, first = f->first + (f->is_down ? 2 : 0);
    const struct sy_tensor *one = &s->r->params->tensor[first];
    const int64_t dims[3] = {f->experts, parts * one->dims[0], one->dims[1]};
    int64_t bytes = one->n * sy_safetensors_dtype_bytes(t->dtype);
    SY_TRY(check_shape(s, t, 3, dims));
    SY_TRY(check_dtype(s, t));
    for (int k = 0; k < parts * f->experts; k++) {
        int i = first + 3 * (k / parts) + k % parts;
        SY_TRY(see(s, t, i));
        SY_TRY(read_bytes(s, t, k * bytes, bytes, i));
    }
    return SY_OK;
}

static sy_status read_or_skip(struct shard *s, const struct sy_safetensors_tensor *t) {
    struct sy_hf_fused fused;
    int i = sy_hf_tensor_find(s->r->params, t->name);
    if (i < 0 && !s->r->exact) {
        if (sy_hf_tensor_is_fused(s->r->params, t->name, &fused))
            return read_fused(s, t, &fused);
        i = sy_hf_tensor_alias(s->r->params, t->name);
    }
    if (i >= 0 && s->r->trained_only && s->r->params->tensor[i].offset >= s->r->params->n_trained)
        i = -1;
    if (i < 0 && s->r->exact)
        SY_FAIL(SY_ERR_DATA, "%s: tensor \"%s\" is not one of the model's", s->path, t->name);
    if (i < 0) {
        if (!s->r->n_unknown++)
            snprintf(s->r->first_unknown, sizeof s->r->first_unknown, "%s", t->name);
    } else {
        SY_TRY(see(s, t, i));
        SY_TRY(check_shape(s, t, s->r->params->tensor[i].n_dims, s->r->params->tensor[i].dims));
        SY_TRY(check_dtype(s, t));
    }
    return read_bytes(s, t, 0, t->bytes, i);
}

/* Length and header, which the format puts before the first tensor, go into the hash too. */
static sy_status hash_header(struct shard *s) {
    int64_t n_tensors = sy_safetensors_count(s->file);
    int64_t end = n_tensors ? sy_safetensors_at(s->file, 0)->offset : sy_safetensors_file_bytes(s->file);
    int fd;
    do
        fd = open(s->path, O_RDONLY | O_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot open: %s", s->path, strerror(errno));
    sy_status status = SY_OK;
    for (int64_t at = 0; at < end && status == SY_OK;) {
        ssize_t n = pread(fd, s->piece, end - at < PIECE ? (size_t)(end - at) : PIECE, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            status = sy_fail(n < 0 ? SY_ERR_IO : SY_ERR_DATA, "%s: cannot read the header: %s", s->path,
                             n < 0 ? strerror(errno) : "the file ends");
        else
            XXH3_128bits_update(s->hash, s->piece, (size_t)n);
        at += n > 0 ? n : 0;
    }
    close(fd);
    return status;
}

static sy_status read_all(struct shard *s, const struct sy_ckpt_file *record) {
    char hash[SY_CKPT_HASH_CHARS];
    int64_t bytes = sy_safetensors_file_bytes(s->file);
    if (record && bytes != record->bytes)
        SY_FAIL(SY_ERR_DATA, "%s: %" PRId64 " bytes, was written with %" PRId64, s->path, bytes, record->bytes);
    s->piece = malloc(PIECE);
    s->hash = record ? XXH3_createState() : NULL;
    if (!s->piece || (record && !s->hash))
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", s->path);
    if (s->hash) {
        XXH3_128bits_reset(s->hash);
        SY_TRY(hash_header(s));
    }
    for (int64_t i = 0; i < sy_safetensors_count(s->file); i++)
        SY_TRY(read_or_skip(s, sy_safetensors_at(s->file, i)));
    if (!record)
        return SY_OK;
    sy_xxh128_hex(XXH3_128bits_digest(s->hash), hash);
    if (strcmp(hash, record->hash) != 0)
        SY_FAIL(SY_ERR_DATA, "%s: damaged: XXH3-128 is %s, was written with %s", s->path, hash, record->hash);
    return SY_OK;
}

sy_status sy_ckpt_shard_read(struct sy_ckpt_reading *reading, const char *folder, const char *name,
                             const struct sy_ckpt_file *record) {
    struct shard s = {.r = reading};
    int64_t bytes = 0;
    SY_TRY(sy_ckpt_join(s.path, folder, name));
    SY_TRY(sy_ckpt_file_size(s.path, &bytes));
    SY_TRY(sy_safetensors_open(s.path, &s.file));
    sy_status status = read_all(&s, record);
    free(s.piece);
    XXH3_freeState(s.hash);
    sy_safetensors_close(s.file);
    return status;
}
