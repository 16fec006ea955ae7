/* Text files: see plain_text.h. */
#include "formats/plain_text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum { READ_BYTES = 1 << 16 };

struct sy_plain_text {
    struct sy_source *source;
    int replace, begun, at_end;
    char raw[READ_BYTES];
    size_t at, n;          /* raw[at … n) is not given yet */
    int64_t before, lines; /* bytes of the file before raw[0]; newlines that were given */
    int64_t replaced;
};

sy_status sy_plain_text_open(struct sy_source *source, int replace, struct sy_plain_text **out) {
    struct sy_plain_text *t = calloc(1, sizeof *t);
    if (!t)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", sy_source_name(source));
    t->source = source;
    t->replace = replace;
    *out = t;
    return SY_OK;
}

void sy_plain_text_close(struct sy_plain_text *t) { free(t); }

int64_t sy_plain_text_replaced(const struct sy_plain_text *t) { return t->replaced; }

/* Keeps what is not given yet and reads more behind it. */
static sy_status refill(struct sy_plain_text *t) {
    size_t got = 0;
    memmove(t->raw, t->raw + t->at, t->n - t->at);
    t->before += (int64_t)t->at;
    t->n -= t->at;
    t->at = 0;
    SY_TRY(sy_source_read(t->source, t->raw + t->n, READ_BYTES - t->n, &got));
    t->n += got;
    t->at_end = got == 0;
    return SY_OK;
}

static sy_status drop_mark(struct sy_plain_text *t) {
    while (t->n < 3 && !t->at_end)
        SY_TRY(refill(t));
    t->begun = 1;
    if (t->n >= 3 && memcmp(t->raw, SY_UTF8_BOM, 3) == 0)
        t->at = 3;
    return SY_OK;
}

static sy_status refuse(const struct sy_plain_text *t, int is_cut) {
    static const char advice[] = "data.encoding_errors=replace puts U+FFFD there";
    const char *name = sy_source_name(t->source);
    int64_t line = t->lines + 1, byte = t->before + (int64_t)t->at;
    unsigned value = (unsigned char)t->raw[t->at];
    if (is_cut)
        SY_FAIL(SY_ERR_DATA,
                "%s:%" PRId64 ": ends inside a character (byte %" PRId64 "): the file may be cut off; %s",
                name, line, byte, advice);
    if (value == 0)
        SY_FAIL(SY_ERR_DATA,
                "%s:%" PRId64 ": byte %" PRId64 " is 0, so this is no UTF-8 text: leave the file out, or %s",
                name, line, byte, advice);
    SY_FAIL(SY_ERR_DATA,
            "%s:%" PRId64 ": byte %" PRId64 " (0x%02x) is not UTF-8: if this is Latin-1 or Windows-1252, "
            "iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW makes it UTF-8; %s",
            name, line, byte, value, advice);
}

/* Whole characters from raw[at] on, none of them zero. */
static size_t span(const struct sy_plain_text *t) {
    const char *s = t->raw + t->at;
    size_t n = sy_utf8_span(s, t->n - t->at);
    const char *zero = memchr(s, 0, n);
    return zero ? (size_t)(zero - s) : n;
}

static void give(struct sy_plain_text *t, size_t bytes, const char **s, size_t *n) {
    *s = t->raw + t->at;
    *n = bytes;
    for (size_t i = 0; i < bytes; i++)
        t->lines += (*s)[i] == '\n';
    t->at += bytes;
}

sy_status sy_plain_text_next(struct sy_plain_text *t, const char **s, size_t *n) {
    *n = 0;
    if (!t->begun)
        SY_TRY(drop_mark(t));
    for (;;) {
        int is_cut = 0;
        if (t->at < t->n) {
            size_t whole = span(t);
            if (whole > 0) {
                give(t, whole, s, n);
                return SY_OK;
            }
            size_t bytes = t->raw[t->at] == 0 ? 1 : sy_utf8_broken(t->raw + t->at, t->n - t->at, &is_cut);
            if (!is_cut || t->at_end) {
                if (!t->replace)
                    return refuse(t, is_cut);
                t->at += bytes;
                t->replaced++;
                *s = SY_UTF8_REPLACEMENT;
                *n = 3;
                return SY_OK;
            }
        } else if (t->at_end) {
            return SY_OK;
        }
        SY_TRY(refill(t));
    }
}
