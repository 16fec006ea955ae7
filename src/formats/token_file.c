/* Opening files of tokens and reading their ids: see token_file.h. */
#include "formats/token_file.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/files.h"
#include "formats/json.h"
#include "formats/token_parts.h"

/* --- which ---------------------------------------------------------------------------------------------- */

enum { HEAD_BYTES = 4096 };

static size_t head_of(const char *path, char *head) {
    int fd;
    int64_t bytes;
    if (sy_token_open_fd(path, &fd, &bytes) != SY_OK)
        return 0;
    ssize_t n = pread(fd, head, HEAD_BYTES, 0);
    close(fd);
    return n > 0 ? (size_t)n : 0;
}

static int is_index(const char *head, size_t n) { return n >= 9 && memcmp(head, "MMIDIDX\0", 9) == 0; }

/* The path with another suffix of four bytes, where it ends in `suffix`. */
static int swap_suffix(const char *path, const char *suffix, const char *with, char *out, size_t bytes) {
    size_t n = strlen(path);
    return n >= 4 && strcmp(path + n - 4, suffix) == 0 &&
           snprintf(out, bytes, "%.*s%s", (int)(n - 4), path, with) < (int)bytes;
}

enum sy_token_kind sy_token_file_kind(const char *path, char *other, size_t bytes) {
    char head[HEAD_BYTES], idx[HEAD_BYTES];
    int32_t magic = 0;
    size_t n = head_of(path, head);
    if (is_index(head, n) && swap_suffix(path, ".idx", ".bin", other, bytes))
        return SY_TOKEN_MEGATRON;
    if (swap_suffix(path, ".bin", ".idx", other, bytes) && is_index(idx, head_of(other, idx)))
        return SY_TOKEN_MEGATRON;
    if (n >= 4)
        memcpy(&magic, head, 4);
    if (sy_token_is_llmc(magic))
        return SY_TOKEN_LLMC;
    return n > 9 && head[8] == '{' && memmem(head + 9, n - 9, SY_TOKEN_FORMAT, strlen(SY_TOKEN_FORMAT))
               ? SY_TOKEN_OURS
               : SY_TOKEN_NO_FILE;
}

/* --- opening -------------------------------------------------------------------------------------------- */

static sy_status shell(const char *path, const char *other, struct sy_token_file **out) {
    struct sy_token_file *f = calloc(1, sizeof *f);
    if (!f)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", path);
    f->fd = -1;
    f->n_stored = other ? 2 : 1;
    f->stored[0].path = strdup(path);
    f->stored[1].path = other ? strdup(other) : NULL;
    if (!f->stored[0].path || (other && !f->stored[1].path)) {
        sy_token_file_close(f);
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", path);
    }
    *out = f;
    return SY_OK;
}

static sy_status open_kind(enum sy_token_kind kind, const struct sy_token_options *o,
                           struct sy_token_file *f) {
    switch (kind) {
    case SY_TOKEN_OURS:
        return sy_token_open_ours(f->stored[0].path, o, f);
    case SY_TOKEN_LLMC:
        return sy_token_open_llmc(f->stored[0].path, o, f);
    case SY_TOKEN_MEGATRON:
        return sy_token_open_megatron(f->stored[0].path, f->stored[1].path, o, f);
    case SY_TOKEN_NO_FILE:
        break;
    }
    SY_FAIL(SY_ERR_USAGE, "%s: no file of tokens", f->stored[0].path);
}

/* Heads alone, and the rest from the index. */
static sy_status open_indexed(enum sy_token_kind kind, const char *index, const struct sy_token_options *o,
                              struct sy_token_file *f) {
    struct sy_megatron_head head;
    SY_TRY(kind == SY_TOKEN_LLMC ? sy_token_head_llmc(f->stored[0].path, f)
           : kind == SY_TOKEN_MEGATRON
               ? sy_token_head_megatron(f->stored[0].path, f->stored[1].path, f, &head)
               : sy_fail(SY_ERR_USAGE, "%s: it needs no index", f->stored[0].path));
    return sy_token_take_index(index, o, f);
}

static sy_status open_path(const char *path, const char *index, const struct sy_token_options *o,
                           struct sy_token_file **out) {
    char other[HEAD_BYTES];
    struct sy_token_file *f = NULL;
    enum sy_token_kind kind = sy_token_file_kind(path, other, sizeof other);
    int is_pair = kind == SY_TOKEN_MEGATRON, is_idx = is_pair && path[strlen(path) - 1] == 'x';
    SY_TRY(shell(is_idx ? other : path, is_pair ? (is_idx ? path : other) : NULL, &f));
    sy_status status = index ? open_indexed(kind, index, o, f) : open_kind(kind, o, f);
    if (status != SY_OK) {
        sy_token_file_close(f);
        return status;
    }
    *out = f;
    return SY_OK;
}

sy_status sy_token_file_open(const char *path, const struct sy_token_options *o, struct sy_token_file **out) {
    return open_path(path, NULL, o, out);
}

sy_status sy_token_file_open_indexed(const char *path, const char *index, const struct sy_token_options *o,
                                     struct sy_token_file **out) {
    return open_path(path, index, o, out);
}

void sy_token_file_close(struct sy_token_file *f) {
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    for (int i = 0; i < 2; i++)
        free(f->stored[i].path);
    free(f->document);
    free(f->counts);
    free(f->sums);
    free(f->checked);
    json_decref(f->notes);
    free(f);
}

/* --- reading -------------------------------------------------------------------------------------------- */

/* A block of ours against its sum, and its ids. */
static sy_status check_block(const struct sy_token_file *f, int64_t block) {
    static const int at_once = SY_TOKEN_BLOCK_BYTES / 16;
    char raw[SY_TOKEN_BLOCK_BYTES];
    int32_t id[SY_TOKEN_BLOCK_BYTES / 16];
    int64_t size = sy_ids_bytes(f->ids), first = block * SY_TOKEN_BLOCK_BYTES / size;
    int64_t n = SY_TOKEN_BLOCK_BYTES / size < f->n - first ? SY_TOKEN_BLOCK_BYTES / size : f->n - first;
    const char *path = f->stored[0].path;
    SY_TRY(sy_file_need(path, f->fd, f->base + first * size, raw, (size_t)(n * size)));
    if (XXH3_64bits(raw, (size_t)(n * size)) != f->sums[block])
        SY_FAIL(SY_ERR_DATA,
                "%s: tokens %" PRId64 " to %" PRId64 " are not those that were written: the file is damaged",
                path, first, first + n - 1);
    for (int64_t i = 0; i < n; i += at_once) {
        int64_t m = n - i < at_once ? n - i : at_once;
        sy_ids_widen(f->ids, raw + i * size, m, id);
        int64_t bad = sy_ids_check(id, m, f->n_ids);
        if (bad < m)
            SY_FAIL(SY_ERR_DATA,
                    "%s: token %" PRId64 " is id %" PRId64 ", the tokenizer has ids 0 to %" PRId32, path,
                    first + i + bad, sy_ids_at(f->ids, raw, i + bad), f->n_ids - 1);
    }
    return SY_OK;
}

static sy_status check_blocks(const struct sy_token_file *f, int64_t first, int64_t n) {
    int64_t per_block = SY_TOKEN_BLOCK_BYTES / sy_ids_bytes(f->ids);
    for (int64_t block = first / per_block; f->sums && block * per_block < first + n; block++) {
        _Atomic unsigned char *checked = (_Atomic unsigned char *)&f->checked[block];
        if (atomic_load_explicit(checked, memory_order_relaxed))
            continue;
        SY_TRY(check_block(f, block));
        atomic_store_explicit(checked, 1, memory_order_relaxed);
    }
    return SY_OK;
}

sy_status sy_token_file_check(const struct sy_token_file *f) { return check_blocks(f, 0, f->n); }

sy_status sy_token_file_read(const struct sy_token_file *f, int64_t first, int64_t n, int32_t *out) {
    char raw[1 << 14];
    int64_t size = sy_ids_bytes(f->ids), at_once = (int64_t)sizeof raw / size;
    if (first < 0 || n < 0 || first > f->n || n > f->n - first)
        SY_FAIL(SY_ERR_USAGE, "%s: tokens %" PRId64 " + %" PRId64 " of %" PRId64, f->stored[0].path, first, n,
                f->n);
    SY_TRY(check_blocks(f, first, n));
    for (int64_t i = 0; i < n; i += at_once) {
        int64_t m = n - i < at_once ? n - i : at_once;
        SY_TRY(sy_file_need(f->stored[0].path, f->fd, f->base + (first + i) * size, raw, (size_t)(m * size)));
        sy_ids_widen(f->ids, raw, m, out + i);
    }
    return SY_OK;
}
