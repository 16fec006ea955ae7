/* Megatron's files of tokens: see token_file.h.
 *
 *     .idx   "MMIDIDX\0\0" | u64 1 | u8 type | u64 sequences | u64 documents + 1
 *            | i32 tokens of each sequence | i64 byte in .bin of each | i64 first sequence of each document,
 *            and the number of sequences | (u8 mode of each sequence, of pictures: not read)
 *     .bin   ids
 *
 * Read front to back by three cursors. Sequences stand one behind another in .bin, as Megatron writes them.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/files.h"
#include "formats/token_parts.h"
#include "formats/xxh128.h"

enum { MAGIC_BYTES = 9, HEAD_BYTES = MAGIC_BYTES + 8 + 1 + 8 + 8, CURSOR_BYTES = 1 << 16 };

/* A column of the index. */
struct cursor {
    enum sy_ids ids;
    int64_t at, end; /* bytes of the file, behind the buffer */
    int64_t used, filled;
    char buffer[CURSOR_BYTES];
};

struct index {
    const char *path;
    int fd;
    const struct sy_token_file *file;
    struct sy_megatron_head head;
    struct cursor length, place, first;
    int64_t sequence, document, tokens; /* passed so far */
};

static sy_status next(const struct index *x, struct cursor *c, int64_t *out) {
    if (c->used == c->filled) {
        int64_t n = c->end - c->at < CURSOR_BYTES ? c->end - c->at : CURSOR_BYTES;
        SY_TRY(sy_file_need(x->path, x->fd, c->at, c->buffer, (size_t)n));
        c->at += n;
        c->filled = n;
        c->used = 0;
    }
    *out = sy_ids_at(c->ids, c->buffer + c->used, 0);
    c->used += sy_ids_bytes(c->ids);
    return SY_OK;
}

static int type_of(int code, enum sy_ids *ids) {
    static const struct {
        int code;
        enum sy_ids ids;
    } types[] = {{1, SY_IDS_U8},  {2, SY_IDS_I8},  {3, SY_IDS_I16},
                 {4, SY_IDS_I32}, {5, SY_IDS_I64}, {8, SY_IDS_U16}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].code == code) {
            *ids = types[i].ids;
            return 1;
        }
    return 0;
}

static sy_status read_head(const char *idx, int fd, int64_t bytes, struct sy_token_file *file,
                           struct sy_megatron_head *head) {
    char raw[HEAD_BYTES];
    uint64_t version, sequences, ends;
    SY_TRY(sy_file_need(idx, fd, 0, raw, HEAD_BYTES));
    if (memcmp(raw, "MMIDIDX\0", MAGIC_BYTES) != 0)
        SY_FAIL(SY_ERR_DATA, "%s: does not begin with MMIDIDX: no index of Megatron's", idx);
    memcpy(&version, raw + MAGIC_BYTES, 8);
    memcpy(&sequences, raw + MAGIC_BYTES + 9, 8);
    memcpy(&ends, raw + MAGIC_BYTES + 17, 8);
    int code = (unsigned char)raw[MAGIC_BYTES + 8];
    if (version != 1)
        SY_FAIL(SY_ERR_DATA, "%s: version %" PRIu64 " of the index, 1 is read", idx, version);
    if (!type_of(code, &file->ids))
        SY_FAIL(SY_ERR_DATA, "%s: type %d of ids: 1, 2, 3, 4, 5 or 8 (integers) are read", idx, code);
    uint64_t room = (uint64_t)(bytes - HEAD_BYTES), most = room / 8;
    uint64_t used = sequences <= most && ends <= most ? 12 * sequences + 8 * ends : UINT64_MAX;
    if (ends < 1 || (room != used && room != used + sequences)) /* modes stand at the end, or not */
        SY_FAIL(SY_ERR_DATA,
                "%s: %" PRId64 " bytes are not those of %" PRIu64 " sequences and %" PRIu64
                " ends of documents: it is cut or damaged",
                idx, bytes, sequences, ends);
    *head = (struct sy_megatron_head){(int64_t)sequences, (int64_t)ends - 1};
    return SY_OK;
}

sy_status sy_token_head_megatron(const char *bin, const char *idx, struct sy_token_file *file,
                                 struct sy_megatron_head *head) {
    int fd = -1;
    SY_TRY(sy_token_open_fd(idx, &fd, &file->stored[1].bytes));
    sy_status status = read_head(idx, fd, file->stored[1].bytes, file, head);
    close(fd);
    SY_TRY(status);
    SY_TRY(sy_token_open_fd(bin, &file->fd, &file->stored[0].bytes));
    int64_t size = sy_ids_bytes(file->ids);
    if (file->stored[0].bytes % size)
        SY_FAIL(SY_ERR_DATA, "%s: %" PRId64 " bytes are no whole number of ids of %" PRId64 " bytes", bin,
                file->stored[0].bytes, size);
    file->n = file->stored[0].bytes / size;
    return SY_OK;
}

/* One more sequence. */
static sy_status pass_sequence(struct index *x) {
    int64_t n, place, size = sy_ids_bytes(x->file->ids);
    SY_TRY(next(x, &x->length, &n));
    SY_TRY(next(x, &x->place, &place));
    if (n < 0 || n > x->file->n - x->tokens)
        SY_FAIL(SY_ERR_DATA,
                "%s: sequence %" PRId64 " has %" PRId64 " tokens, %s has %" PRId64
                " left: one of the two is cut or damaged",
                x->path, x->sequence, n, x->file->stored[0].path, x->file->n - x->tokens);
    if (place != x->tokens * size)
        SY_FAIL(SY_ERR_DATA,
                "%s: sequence %" PRId64 " begins at byte %" PRId64 ", the one before ends at %" PRId64
                ": sequences must stand one behind another",
                x->path, x->sequence, place, x->tokens * size);
    x->tokens += n;
    x->sequence++;
    return SY_OK;
}

static sy_status next_end(void *arg, int64_t *end) {
    struct index *x = arg;
    if (x->document == x->head.n_documents) {
        if (x->tokens != x->file->n)
            SY_FAIL(SY_ERR_DATA,
                    "%s: its %" PRId64 " documents have %" PRId64 " tokens, %s has %" PRId64
                    ": one of the two is cut or damaged",
                    x->path, x->document, x->tokens, x->file->stored[0].path, x->file->n);
        *end = x->file->n;
        return SY_OK;
    }
    int64_t to;
    SY_TRY(next(x, &x->first, &to));
    x->document++;
    if (to < x->sequence || to > x->head.n_sequences)
        SY_FAIL(SY_ERR_DATA,
                "%s: document %" PRId64 " ends at sequence %" PRId64 ", it must be %" PRId64 " to %" PRId64,
                x->path, x->document - 1, to, x->sequence, x->head.n_sequences);
    while (x->sequence < to)
        SY_TRY(pass_sequence(x));
    *end = x->tokens;
    return SY_OK;
}

static sy_status scan(struct index *x, const struct sy_token_options *o, struct sy_token_file *file) {
    int64_t zero;
    SY_TRY(next(x, &x->first, &zero));
    if (zero != 0)
        SY_FAIL(SY_ERR_DATA, "%s: document 0 begins at sequence %" PRId64 ", it must be 0", x->path, zero);
    SY_TRY(sy_token_scan(&(struct sy_token_scan){file, o, next_end, x}));
    while (x->document < x->head.n_documents) /* empty ones, or more than there are ids for */
        SY_TRY(next_end(x, &zero));
    return next_end(x, &zero);
}

static sy_status hash_index(const struct index *x, int64_t bytes, char out[33]) {
    char piece[CURSOR_BYTES];
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", x->path);
    XXH3_128bits_reset(state);
    sy_status status = SY_OK;
    for (int64_t at = 0; at < bytes && status == SY_OK; at += CURSOR_BYTES) {
        int64_t n = bytes - at < CURSOR_BYTES ? bytes - at : CURSOR_BYTES;
        status = sy_file_need(x->path, x->fd, at, piece, (size_t)n);
        if (status == SY_OK)
            XXH3_128bits_update(state, piece, (size_t)n);
    }
    sy_xxh128_hex(XXH3_128bits_digest(state), out);
    XXH3_freeState(state);
    return status;
}

sy_status sy_token_open_megatron(const char *bin, const char *idx, const struct sy_token_options *o,
                                 struct sy_token_file *file) {
    struct index *x = calloc(1, sizeof *x);
    int64_t bytes;
    if (!x)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", idx);
    *x = (struct index){.path = idx, .fd = -1, .file = file};
    sy_status status = sy_token_head_megatron(bin, idx, file, &x->head);
    if (status == SY_OK)
        status = sy_token_open_fd(idx, &x->fd, &bytes);
    if (status == SY_OK) {
        int64_t lengths = HEAD_BYTES, places = lengths + 4 * x->head.n_sequences,
                firsts = places + 8 * x->head.n_sequences;
        x->length = (struct cursor){.ids = SY_IDS_I32, .at = lengths, .end = places};
        x->place = (struct cursor){.ids = SY_IDS_I64, .at = places, .end = firsts};
        x->first =
            (struct cursor){.ids = SY_IDS_I64, .at = firsts, .end = firsts + 8 * (x->head.n_documents + 1)};
        status = scan(x, o, file);
    }
    if (status == SY_OK)
        status = hash_index(x, file->stored[1].bytes, file->stored[1].hash);
    if (x->fd >= 0)
        close(x->fd);
    free(x);
    return status;
}
