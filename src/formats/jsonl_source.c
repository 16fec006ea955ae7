/* Plain, gzip and zstd byte streams: see jsonl_source.h.
 *
 *     stored bytes -> input[] (hashed) -> inflate / ZSTD_decompressStream / memcpy -> caller
 */
#include "formats/jsonl_source.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#include <zlib.h>
#include <zstd.h>

#include "base/files.h"
#include "formats/xxh128.h"

enum { INPUT_BYTES = 1 << 17 };
enum packing { PLAIN, GZIP, ZSTD };

struct sy_source {
    char *name;
    int fd;             /* -1 when in memory */
    const char *memory; /* what is left of it */
    size_t memory_bytes;
    enum packing packing;
    XXH3_state_t *hash;
    int64_t stored;
    char *input; /* INPUT_BYTES */
    size_t input_at, input_n;
    int input_end; /* nothing is left to read */
    z_stream gzip;
    ZSTD_DCtx *zstd;
    int in_member; /* between the first and the last byte of a gzip member or zstd frame */
    char *head;    /* what was peeked at, SY_SOURCE_HEAD_BYTES; NULL: nothing */
    size_t head_at, head_n;
};

static int ends_with(const char *s, const char *suffix) {
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcasecmp(s + n - m, suffix) == 0;
}

static sy_status out_of_memory(const struct sy_source *source) {
    SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", source->name ? source->name : "source");
}

static sy_status new_source(const char *name, struct sy_source **out) {
    struct sy_source *source = calloc(1, sizeof *source);
    if (!source)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", name);
    source->fd = -1;
    source->name = strdup(name);
    source->hash = XXH3_createState();
    source->input = malloc(INPUT_BYTES);
    if (!source->name || !source->hash || !source->input) {
        sy_source_close(source);
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", name);
    }
    XXH3_128bits_reset(source->hash);
    *out = source;
    return SY_OK;
}

static sy_status start(struct sy_source *source, enum packing packing) {
    if (packing == GZIP && inflateInit2(&source->gzip, 15 + 16) != Z_OK)
        return out_of_memory(source);
    if (packing == ZSTD && !(source->zstd = ZSTD_createDCtx()))
        return out_of_memory(source);
    source->packing = packing;
    return SY_OK;
}

static sy_status refill(struct sy_source *source);

/* By the first bytes. */
static sy_status start_by_content(struct sy_source *source) {
    SY_TRY(refill(source));
    size_t n = source->input_n;
    const char *s = source->input;
    int is_gzip = n >= 2 && memcmp(s, "\x1f\x8b", 2) == 0;
    int is_frame = n >= 4 && memcmp(s, "\x28\xb5\x2f\xfd", 4) == 0;
    int is_skippable = n >= 4 && (s[0] & 0xf0) == 0x50 && memcmp(s + 1, "\x2a\x4d\x18", 3) == 0;
    return start(source, is_gzip ? GZIP : is_frame || is_skippable ? ZSTD : PLAIN);
}

static sy_status check_name(const struct sy_source *source) {
    enum packing named = ends_with(source->name, ".gz")    ? GZIP
                         : ends_with(source->name, ".zst") ? ZSTD
                                                           : PLAIN;
    if (named != PLAIN && named != source->packing && source->input_n > 0)
        SY_FAIL(SY_ERR_DATA, "%s: not %s, as its name says: give it the name of what it is", source->name,
                named == GZIP ? "gzip" : "zstd");
    return SY_OK;
}

static sy_status open_file(struct sy_source *source) {
    source->fd = open(source->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang us */
    struct stat st;
    if (source->fd < 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot open: %s", source->name, strerror(errno));
    if (fstat(source->fd, &st) != 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot stat: %s", source->name, strerror(errno));
    if (!S_ISREG(st.st_mode))
        SY_FAIL(SY_ERR_IO, "%s: not a regular file", source->name);
    SY_TRY(start_by_content(source));
    return check_name(source);
}

sy_status sy_source_open(const char *path, struct sy_source **out) {
    struct sy_source *source = NULL;
    SY_TRY(new_source(path, &source));
    sy_status status = open_file(source);
    if (status != SY_OK) {
        sy_source_close(source);
        return status;
    }
    *out = source;
    return SY_OK;
}

sy_status sy_source_open_memory(const char *name, const void *data, size_t bytes, struct sy_source **out) {
    struct sy_source *source = NULL;
    SY_TRY(new_source(name, &source));
    source->memory = data;
    source->memory_bytes = bytes;
    sy_status status = start_by_content(source);
    if (status != SY_OK) {
        sy_source_close(source);
        return status;
    }
    *out = source;
    return SY_OK;
}

void sy_source_close(struct sy_source *source) {
    if (!source)
        return;
    if (source->packing == GZIP)
        inflateEnd(&source->gzip);
    ZSTD_freeDCtx(source->zstd);
    if (source->fd >= 0)
        close(source->fd);
    if (source->hash)
        XXH3_freeState(source->hash);
    free(source->input);
    free(source->head);
    free(source->name);
    free(source);
}

const char *sy_source_name(const struct sy_source *source) { return source->name; }

int64_t sy_source_stored_bytes(const struct sy_source *source) { return source->stored; }

void sy_source_stored_hash(const struct sy_source *source, char out[33]) {
    sy_xxh128_hex(XXH3_128bits_digest(source->hash), out);
}

/* Fills input[] when it is empty. */
static sy_status refill(struct sy_source *source) {
    if (source->input_at < source->input_n || source->input_end)
        return SY_OK;
    ssize_t n;
    if (source->fd >= 0) {
        SY_AGAIN(n, read(source->fd, source->input, INPUT_BYTES));
        if (n < 0)
            SY_FAIL(SY_ERR_IO, "%s: cannot read at byte %" PRId64 ": %s", source->name, source->stored,
                    strerror(errno));
    } else {
        n = source->memory_bytes < INPUT_BYTES ? (ssize_t)source->memory_bytes : INPUT_BYTES;
        if (n > 0) {
            memcpy(source->input, source->memory, (size_t)n);
            source->memory += n;
            source->memory_bytes -= (size_t)n;
        }
    }
    source->input_at = 0;
    source->input_n = (size_t)n;
    source->input_end = n == 0;
    source->stored += n;
    if (n > 0)
        XXH3_128bits_update(source->hash, source->input, (size_t)n);
    return SY_OK;
}

static sy_status read_plain(struct sy_source *source, void *dst, size_t capacity, size_t *bytes) {
    size_t n = source->input_n - source->input_at;
    n = n < capacity ? n : capacity;
    memcpy(dst, source->input + source->input_at, n);
    source->input_at += n;
    *bytes = n;
    return SY_OK;
}

static sy_status read_gzip(struct sy_source *source, void *dst, size_t capacity, size_t *bytes) {
    z_stream *z = &source->gzip;
    z->next_in = (unsigned char *)source->input + source->input_at;
    z->avail_in = (unsigned)(source->input_n - source->input_at);
    z->next_out = dst;
    z->avail_out = (unsigned)capacity;
    int rc = inflate(z, Z_NO_FLUSH);
    source->in_member = rc != Z_STREAM_END;
    source->input_at = source->input_n - z->avail_in;
    *bytes = capacity - z->avail_out;
    if (rc == Z_STREAM_END)
        rc = inflateReset(z);
    if (rc == Z_MEM_ERROR)
        return out_of_memory(source);
    if (rc != Z_OK && rc != Z_BUF_ERROR)
        SY_FAIL(SY_ERR_DATA, "%s: damaged gzip stream near byte %" PRId64 ": %s", source->name,
                source->stored, z->msg ? z->msg : "not gzip");
    return SY_OK;
}

static sy_status read_zstd(struct sy_source *source, void *dst, size_t capacity, size_t *bytes) {
    ZSTD_inBuffer in = {source->input, source->input_n, source->input_at};
    ZSTD_outBuffer out = {dst, capacity, 0};
    size_t rc = ZSTD_decompressStream(source->zstd, &out, &in);
    if (ZSTD_isError(rc))
        SY_FAIL(SY_ERR_DATA, "%s: damaged zstd stream near byte %" PRId64 ": %s", source->name,
                source->stored, ZSTD_getErrorName(rc));
    source->in_member = rc != 0;
    source->input_at = in.pos;
    *bytes = out.pos;
    return SY_OK;
}

/* Past what was peeked at. */
static sy_status read_on(struct sy_source *source, void *dst, size_t capacity, size_t *bytes) {
    size_t limit = (size_t)1 << 30, n = 0;
    if (capacity > limit)
        capacity = limit;
    while (n == 0 && capacity > 0) {
        SY_TRY(refill(source));
        int drained = source->input_at == source->input_n;
        if (drained && (source->packing == PLAIN || !source->in_member))
            break;
        if (source->packing == PLAIN)
            SY_TRY(read_plain(source, dst, capacity, &n));
        else if (source->packing == GZIP)
            SY_TRY(read_gzip(source, dst, capacity, &n));
        else
            SY_TRY(read_zstd(source, dst, capacity, &n));
        if (drained && n == 0 && source->in_member)
            SY_FAIL(SY_ERR_DATA, "%s: compressed stream is cut off after %" PRId64 " bytes", source->name,
                    source->stored);
    }
    *bytes = n;
    return SY_OK;
}

sy_status sy_source_peek(struct sy_source *source, const char **head, size_t *bytes) {
    size_t n = 1;
    if (!source->head && !(source->head = malloc(SY_SOURCE_HEAD_BYTES)))
        return out_of_memory(source);
    while (n > 0 && source->head_n < SY_SOURCE_HEAD_BYTES) {
        SY_TRY(read_on(source, source->head + source->head_n, SY_SOURCE_HEAD_BYTES - source->head_n, &n));
        source->head_n += n;
    }
    *head = source->head;
    *bytes = source->head_n;
    return SY_OK;
}

sy_status sy_source_read(struct sy_source *source, void *dst, size_t capacity, size_t *bytes) {
    size_t n = source->head_n - source->head_at;
    if (n == 0)
        return read_on(source, dst, capacity, bytes);
    n = n < capacity ? n : capacity;
    memcpy(dst, source->head + source->head_at, n);
    source->head_at += n;
    *bytes = n;
    return SY_OK;
}
