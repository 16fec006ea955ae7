/* Reading all ids of another's file of tokens, once: see token_parts.h.
 *
 *     bytes -> the file's hash -> int32 -> checked -> documents: less BOS and EOS, counted, hashed as int32
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/files.h"
#include "formats/token_parts.h"
#include "formats/xxh128.h"

enum { PIECE_IDS = 1 << 15, ID_BYTES_MAX = 8 };

struct state {
    const struct sy_token_scan *scan;
    struct sy_token_file *file;
    int64_t capacity;
    XXH3_state_t *whole, *text;
    char raw[PIECE_IDS * ID_BYTES_MAX];
    int32_t id[PIECE_IDS];
    int64_t at;                    /* id[0] of the piece */
    struct sy_token_document open; /* the document that is being read */
    int64_t end;                   /* where it ends, if that is known */
    int is_begun;                  /* a BOS was looked for */
};

/* Ids of the open document, `from` … `to` - 1 of the piece. */
static void take(struct state *s, int64_t from, int64_t to) {
    if (from >= to)
        return;
    if (s->open.n == 0) {
        s->open.first = s->at + from;
        XXH3_64bits_reset(s->text);
    }
    XXH3_64bits_update(s->text, s->id + from, (size_t)(to - from) * sizeof *s->id);
    for (int64_t i = from; i < to; i++)
        s->file->counts[s->id[i]]++;
    s->open.n += to - from;
}

static sy_status end_document(struct state *s) {
    struct sy_token_document d = s->open;
    s->open = (struct sy_token_document){0};
    s->is_begun = 0;
    if (d.n == 0) {
        s->file->n_empty++;
        return SY_OK;
    }
    d.bytes = (int64_t)sizeof *s->id * d.n;
    d.hash = XXH3_64bits_digest(s->text);
    return sy_token_add_document(s->file, &s->capacity, &d);
}

/* Between BOS and EOS; nothing between two of them is no document. */
static sy_status part_by_ends(struct state *s, int64_t n) {
    int64_t from = 0;
    for (int64_t i = 0; i < n; i++) {
        if (s->id[i] != s->scan->o->eos && s->id[i] != s->scan->o->bos)
            continue;
        take(s, from, i);
        if (s->open.n > 0)
            SY_TRY(end_document(s));
        from = i + 1;
    }
    take(s, from, n);
    return SY_OK;
}

static sy_status part_by_index(struct state *s, int64_t n) {
    for (int64_t i = 0; i < n;) {
        int64_t to = s->end - s->at < n ? s->end - s->at : n;
        if (!s->is_begun && i < to) {
            s->is_begun = 1;
            i += s->id[i] == s->scan->o->bos;
        }
        int is_end = s->at + to == s->end;
        int has_eos = is_end && i < to && s->id[to - 1] == s->scan->o->eos;
        take(s, i, to - has_eos);
        i = to;
        while (is_end) {
            SY_TRY(end_document(s));
            int64_t ended = s->end;
            if (s->end == s->file->n)
                return SY_OK;
            SY_TRY(s->scan->next_end(s->scan->arg, &s->end));
            is_end = s->end == ended; /* an empty one */
        }
    }
    return SY_OK;
}

static sy_status check(const struct state *s, int64_t n) {
    const struct sy_token_file *f = s->file;
    int64_t bad = sy_ids_check(s->id, n, f->n_ids);
    if (bad < n)
        SY_FAIL(SY_ERR_DATA,
                "%s: token %" PRId64 " is id %" PRId64 ", but the tokenizer has ids 0 to %" PRId32
                ": tokenizer.path must name the tokenizer that the file was made with",
                f->stored[0].path, s->at + bad, sy_ids_at(f->ids, s->raw, bad), f->n_ids - 1);
    return SY_OK;
}

static sy_status scan_piece(struct state *s, int64_t n) {
    struct sy_token_file *f = s->file;
    int64_t size = sy_ids_bytes(f->ids);
    SY_TRY(sy_file_need(f->stored[0].path, f->fd, f->base + s->at * size, s->raw, (size_t)(n * size)));
    XXH3_128bits_update(s->whole, s->raw, (size_t)(n * size));
    sy_ids_widen(f->ids, s->raw, n, s->id);
    SY_TRY(check(s, n));
    return s->scan->next_end ? part_by_index(s, n) : part_by_ends(s, n);
}

/* The file's hash begins with what stands before the ids. */
static sy_status hash_head(struct state *s) {
    const struct sy_token_file *f = s->file;
    if (f->base == 0)
        return SY_OK;
    SY_TRY(sy_file_need(f->stored[0].path, f->fd, 0, s->raw, (size_t)f->base));
    XXH3_128bits_update(s->whole, s->raw, (size_t)f->base);
    return SY_OK;
}

static sy_status scan_all(struct state *s) {
    struct sy_token_file *f = s->file;
    XXH3_128bits_reset(s->whole);
    SY_TRY(hash_head(s));
    if (s->scan->next_end)
        do { /* documents that are empty, in front */
            SY_TRY(s->scan->next_end(s->scan->arg, &s->end));
            f->n_empty += s->end == 0 && f->n > 0;
        } while (s->end == 0 && f->n > 0);
    for (s->at = 0; s->at < f->n; s->at += PIECE_IDS)
        SY_TRY(scan_piece(s, f->n - s->at < PIECE_IDS ? f->n - s->at : PIECE_IDS));
    if (s->open.n > 0)
        SY_TRY(end_document(s));
    sy_xxh128_hex(XXH3_128bits_digest(s->whole), f->stored[0].hash);
    return SY_OK;
}

sy_status sy_token_scan(const struct sy_token_scan *scan) {
    struct sy_token_file *f = scan->file;
    struct state *s = calloc(1, sizeof *s);
    sy_status status = SY_ERR_MEMORY;
    f->n_ids = scan->o->n_ids;
    f->counts = calloc((size_t)f->n_ids + 1, sizeof *f->counts);
    if (s) {
        s->scan = scan;
        s->file = f;
        s->whole = XXH3_createState();
        s->text = XXH3_createState();
    }
    if (s && s->whole && s->text && f->counts)
        status = scan_all(s);
    else
        sy_fail(status, "%s: out of memory", f->stored[0].path);
    if (s) {
        XXH3_freeState(s->whole);
        XXH3_freeState(s->text);
    }
    free(s);
    return status;
}
