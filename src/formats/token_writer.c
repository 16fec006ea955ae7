/* Writing files of tokens: see token_writer.h.
 *
 *     8 bytes length | header, filled up with spaces | tokens | documents | sums | counts
 *
 * The header goes in last: it knows how much came. What was written is hashed a block at a time.
 */
#include "formats/token_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/files.h"
#include "base/text.h"
#include "formats/json.h"
#include "formats/token_parts.h"

enum { HEADER_ROOM = 4096 };

struct sy_token_writer {
    struct sy_token_file file; /* its index */
    const char *tokenizer;
    int64_t document_capacity, n_sums, sum_capacity;
    int is_bytes, is_index, is_made; /* here, and not handed over */
    int64_t at;                      /* byte of the file that comes next */
    size_t filled;
    char block[SY_TOKEN_BLOCK_BYTES];
};

static sy_status out_of_memory(const struct sy_token_writer *w) {
    SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", w->file.stored[0].path);
}

static sy_status write_at(const struct sy_token_writer *w, int64_t offset, const void *data, size_t bytes) {
    int wrote = sy_file_write(w->file.fd, &offset, data, bytes);
    if (wrote <= 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot write at byte %" PRId64 ": %s", w->file.stored[0].path, offset,
                wrote < 0 ? strerror(errno) : "nothing was taken");
    return SY_OK;
}

static sy_status append(struct sy_token_writer *w, const void *data, size_t bytes) {
    SY_TRY(write_at(w, w->at, data, bytes));
    w->at += (int64_t)bytes;
    return SY_OK;
}

static void free_writer(struct sy_token_writer *w) {
    if (w->file.fd >= 0)
        close(w->file.fd);
    free(w->file.stored[0].path);
    free(w->file.document);
    free(w->file.counts);
    free(w->file.sums);
    free(w);
}

static sy_status shell(const char *path, int fd, const struct sy_token_head *head,
                       struct sy_token_writer **out) {
    struct sy_token_writer *w = calloc(1, sizeof *w);
    if (!w)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", path);
    w->file.stored[0].path = strdup(path);
    w->file.counts = calloc((size_t)head->n_ids + 1, sizeof *w->file.counts);
    w->file.n_ids = head->n_ids;
    w->file.fd = fd;
    w->tokenizer = head->tokenizer;
    w->is_bytes = head->is_bytes;
    w->file.ids = head->is_bytes ? SY_IDS_U8 : head->n_ids <= 1 << 16 ? SY_IDS_U16 : SY_IDS_I32;
    w->at = HEADER_ROOM;
    *out = w;
    return w->file.stored[0].path && w->file.counts ? SY_OK : out_of_memory(w);
}

sy_status sy_token_writer_open(const char *path, int fd, const struct sy_token_head *head,
                               struct sy_token_writer **out) {
    struct sy_token_writer *w = NULL;
    int is_made = fd < 0;
    if (is_made)
        SY_AGAIN(fd, open(path, O_RDWR | O_CLOEXEC | O_CREAT | O_EXCL, 0666));
    if (fd < 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot create: %s", path, strerror(errno));
    sy_status status = shell(path, fd, head, &w);
    if (status == SY_OK) {
        w->is_made = is_made;
        *out = w;
        return SY_OK;
    }
    if (w)
        free_writer(w);
    else
        close(fd);
    if (is_made)
        unlink(path);
    return status;
}

void sy_token_writer_abandon(struct sy_token_writer *w) {
    if (!w)
        return;
    if (w->is_made)
        unlink(w->file.stored[0].path);
    free_writer(w);
}

int64_t sy_token_writer_documents(const struct sy_token_writer *w) { return w->file.n_documents; }
int64_t sy_token_writer_tokens(const struct sy_token_writer *w) { return w->file.n; }

static sy_status end_block(struct sy_token_writer *w) {
    if (w->n_sums == w->sum_capacity) {
        int64_t capacity = 2 * w->sum_capacity + 64;
        uint64_t *larger = realloc(w->file.sums, (size_t)capacity * sizeof *larger);
        if (!larger)
            return out_of_memory(w);
        w->file.sums = larger;
        w->sum_capacity = capacity;
    }
    w->file.sums[w->n_sums++] = XXH3_64bits(w->block, w->filled);
    SY_TRY(append(w, w->block, w->filled));
    w->filled = 0;
    return SY_OK;
}

/* n ids from `ids`, as many as the block has room for. */
static void narrow(struct sy_token_writer *w, const void *ids, int64_t n) {
    char *to = w->block + w->filled;
    if (w->file.ids == SY_IDS_U16)
        for (int64_t i = 0; i < n; i++) {
            uint16_t id = (uint16_t)((const int32_t *)ids)[i];
            memcpy(to + 2 * i, &id, 2);
        }
    else
        memcpy(to, ids, (size_t)(n * sy_ids_bytes(w->file.ids)));
    w->filled += (size_t)(n * sy_ids_bytes(w->file.ids));
}

static void count(struct sy_token_writer *w, const void *ids, int64_t n) {
    if (w->is_bytes)
        for (int64_t i = 0; i < n; i++)
            w->file.counts[((const unsigned char *)ids)[i]]++;
    else
        for (int64_t i = 0; i < n; i++)
            w->file.counts[((const int32_t *)ids)[i]]++;
}

sy_status sy_token_writer_add(struct sy_token_writer *w, const struct sy_token_document *text,
                              const void *ids) {
    struct sy_token_document document = *text;
    int64_t size = sy_ids_bytes(w->file.ids), from = w->is_bytes ? 1 : (int64_t)sizeof(int32_t);
    document.first = w->file.n;
    if (document.bytes < 1)
        SY_FAIL(SY_ERR_USAGE, "%s: an empty document", w->file.stored[0].path);
    SY_TRY(sy_token_add_document(&w->file, &w->document_capacity, &document));
    count(w, ids, document.n);
    for (int64_t i = 0; i < document.n;) {
        int64_t room = (int64_t)(sizeof w->block - w->filled) / size;
        int64_t n = document.n - i < room ? document.n - i : room;
        narrow(w, (const char *)ids + i * from, n);
        i += n;
        if (w->filled == sizeof w->block)
            SY_TRY(end_block(w));
    }
    w->file.n += document.n;
    return SY_OK;
}

/* --- the header ----------------------------------------------------------------------------------------- */

static int pair_of(const void *arg, int64_t i, const char **key, const char **value) {
    void *at = json_object_iter((json_t *)arg);
    while (at && i-- > 0)
        at = json_object_iter_next((json_t *)arg, at);
    if (!at)
        return 0;
    *key = json_object_iter_key(at);
    *value = json_string_value(json_object_iter_value(at));
    return 1;
}

static json_t *metadata(const struct sy_token_writer *w, const struct sy_token_note *notes, int n_notes) {
    const struct sy_token_part parts[3] = {
        {w->file.document, (size_t)w->file.n_documents * sizeof *w->file.document},
        {w->file.sums, (size_t)w->n_sums * sizeof *w->file.sums},
        {w->file.counts, (size_t)w->file.n_ids * sizeof *w->file.counts},
    };
    char n_ids[16], digest[33];
    snprintf(n_ids, sizeof n_ids, "%" PRId32, w->file.n_ids);
    json_t *m = json_pack("{s:s, s:s, s:s}", "format", w->is_index ? SY_TOKEN_INDEX_FORMAT : SY_TOKEN_FORMAT,
                          "tokenizer", w->tokenizer, "n_ids", n_ids);
    int ok = m != NULL;
    for (int i = 0; ok && i < n_notes; i++)
        ok = json_object_set_new(m, notes[i].key, json_string(notes[i].value)) == 0;
    if (ok && sy_token_digest(pair_of, m, parts, digest) &&
        json_object_set_new(m, "digest", json_string(digest)) == 0)
        return m;
    json_decref(m);
    return NULL;
}

/* A tensor of the header; `at`, where it begins among the data, moves behind it. */
static void declare(struct sy_text *text, int64_t *at, const char *name, const char *shape, int64_t bytes) {
    char entry[256];
    int n = snprintf(entry, sizeof entry, ",\"%s\":{%s],\"data_offsets\":[%" PRId64 ",%" PRId64 "]}", name,
                     shape, *at, *at + bytes);
    sy_text_add(text, entry, (size_t)n);
    *at += bytes;
}

static void declare_all(const struct sy_token_writer *w, struct sy_text *text) {
    static const char *const dtypes[] = {[SY_IDS_U8] = "U8", [SY_IDS_U16] = "U16", [SY_IDS_I32] = "I32"};
    char shape[96];
    int64_t at = 0;
    snprintf(shape, sizeof shape, "\"dtype\":\"%s\",\"shape\":[%" PRId64, dtypes[w->file.ids], w->file.n);
    if (!w->is_index)
        declare(text, &at, "tokens", shape, w->file.n * sy_ids_bytes(w->file.ids));
    snprintf(shape, sizeof shape, "\"dtype\":\"I64\",\"shape\":[%" PRId64 ",4", w->file.n_documents);
    declare(text, &at, "documents", shape, w->file.n_documents * (int64_t)sizeof *w->file.document);
    snprintf(shape, sizeof shape, "\"dtype\":\"U64\",\"shape\":[%" PRId64, w->n_sums);
    if (!w->is_index)
        declare(text, &at, "sums", shape, w->n_sums * (int64_t)sizeof *w->file.sums);
    snprintf(shape, sizeof shape, "\"dtype\":\"I64\",\"shape\":[%" PRId32, w->file.n_ids);
    declare(text, &at, "counts", shape, w->file.n_ids * (int64_t)sizeof *w->file.counts);
}

static sy_status write_header(struct sy_token_writer *w, const struct sy_token_note *notes, int n_notes) {
    static const char begin[] = "{\"__metadata__\":";
    char room[HEADER_ROOM];
    const uint64_t length = HEADER_ROOM - 8;
    struct sy_text text = {0};
    json_t *m = metadata(w, notes, n_notes);
    char *pairs = m ? sy_json_dumps(m, JSON_COMPACT) : NULL;
    json_decref(m);
    sy_text_add(&text, begin, sizeof begin - 1);
    sy_text_add(&text, pairs ? pairs : "", pairs ? strlen(pairs) : 0);
    declare_all(w, &text);
    sy_text_add(&text, "}", 1);
    int failed = !pairs || text.failed, fits = text.n <= length;
    memset(room, ' ', sizeof room);
    memcpy(room, &length, 8);
    if (!failed && fits)
        memcpy(room + 8, text.s, text.n);
    free(pairs);
    free(text.s);
    if (failed)
        return out_of_memory(w);
    if (!fits)
        SY_FAIL(SY_ERR_USAGE, "%s: its header is larger than %d bytes", w->file.stored[0].path,
                HEADER_ROOM - 8);
    return write_at(w, 0, room, sizeof room);
}

static sy_status finish(struct sy_token_writer *w, const struct sy_token_note *notes, int n_notes) {
    if (w->filled)
        SY_TRY(end_block(w));
    SY_TRY(append(w, w->file.document, (size_t)w->file.n_documents * sizeof *w->file.document));
    SY_TRY(append(w, w->file.sums, (size_t)w->n_sums * sizeof *w->file.sums));
    SY_TRY(append(w, w->file.counts, (size_t)w->file.n_ids * sizeof *w->file.counts));
    SY_TRY(write_header(w, notes, n_notes));
    if (fsync(w->file.fd) != 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot fsync: %s", w->file.stored[0].path, strerror(errno));
    return SY_OK;
}

sy_status sy_token_writer_finish(struct sy_token_writer *w, const struct sy_token_note *notes, int n_notes) {
    sy_status status = finish(w, notes, n_notes);
    int rc = close(w->file.fd);
    w->file.fd = -1;
    if (status == SY_OK && rc != 0)
        status = sy_fail(SY_ERR_IO, "%s: cannot close: %s", w->file.stored[0].path, strerror(errno));
    if (status != SY_OK)
        sy_token_writer_abandon(w);
    else
        free_writer(w);
    return status;
}

sy_status sy_token_index_write(const char *path, int fd, const struct sy_token_file *of,
                               const char *tokenizer, const struct sy_token_note *notes, int n_notes) {
    struct sy_token_writer *w = NULL;
    struct sy_token_note all[16];
    char empty[24];
    int n = 0;
    snprintf(empty, sizeof empty, "%" PRId64, of->n_empty);
    all[n++] = (struct sy_token_note){"empty", empty};
    all[n++] = (struct sy_token_note){"hash_0", of->stored[0].hash};
    if (of->n_stored > 1)
        all[n++] = (struct sy_token_note){"hash_1", of->stored[1].hash};
    for (int i = 0; i < n_notes && n < 16; i++)
        all[n++] = notes[i];
    SY_TRY(sy_token_writer_open(path, fd, &(struct sy_token_head){tokenizer, of->n_ids, 0}, &w));
    w->is_index = 1;
    memcpy(w->file.counts, of->counts, (size_t)of->n_ids * sizeof *of->counts);
    sy_status status = SY_OK;
    for (int64_t i = 0; i < of->n_documents && status == SY_OK; i++)
        status = sy_token_add_document(&w->file, &w->document_capacity, &of->document[i]);
    if (status == SY_OK)
        return sy_token_writer_finish(w, all, n);
    sy_token_writer_abandon(w);
    return status;
}
