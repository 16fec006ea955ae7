/* TensorBoard's event files: see tfevents.h. */
#include "formats/tfevents.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5, HEAD = 12, TAIL = 4, MAX_RECORD = 64 << 20 };

/* --- checksums ------------------------------------------------------------------------------------------ */

/* Castagnoli's polynomial, reflected. */
static uint32_t crc32c(const void *data, size_t n) {
    const unsigned char *s = data;
    uint32_t c = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        c ^= s[i];
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (0x82f63b78u & (0u - (c & 1)));
    }
    return ~c;
}

static uint32_t masked(uint32_t c) { return (c >> 15 | c << 17) + 0xa282ead8u; }

static void little(unsigned char *out, uint64_t v, int n) {
    for (int i = 0; i < n; i++)
        out[i] = (unsigned char)(v >> (8 * i));
}

static uint64_t from_little(const unsigned char *s, int n) {
    uint64_t v = 0;
    for (int i = 0; i < n; i++)
        v |= (uint64_t)s[i] << (8 * i);
    return v;
}

/* --- messages ------------------------------------------------------------------------------------------- */

static void varint(struct sy_text *m, uint64_t v) {
    char s[10];
    size_t n = 0;
    do {
        s[n++] = (char)((v & 127) | (v > 127 ? 128 : 0));
        v >>= 7;
    } while (v);
    sy_text_add(m, s, n);
}

static void key(struct sy_text *m, int field, int type) { varint(m, (uint64_t)field << 3 | (uint64_t)type); }

void sy_proto_bytes(struct sy_text *m, int field, const void *bytes, size_t n) {
    key(m, field, BYTES);
    varint(m, n);
    sy_text_add(m, bytes, n);
}

void sy_proto_string(struct sy_text *m, int field, const char *s) { sy_proto_bytes(m, field, s, strlen(s)); }

void sy_proto_int(struct sy_text *m, int field, uint64_t value) {
    key(m, field, VARINT);
    varint(m, value);
}

static void raw_double(struct sy_text *m, double value) {
    unsigned char s[8];
    uint64_t word;
    memcpy(&word, &value, sizeof word);
    little(s, word, 8);
    sy_text_add(m, (char *)s, 8);
}

void sy_proto_double(struct sy_text *m, int field, double value) {
    key(m, field, FIXED64);
    raw_double(m, value);
}

void sy_proto_float(struct sy_text *m, int field, float value) {
    unsigned char s[4];
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    little(s, word, 4);
    key(m, field, FIXED32);
    sy_text_add(m, (char *)s, 4);
}

/* Summary.Value: tag 1, simple_value 2, histo 5, tensor 8, metadata 9; Summary.value is 1. */
static void begin_value(struct sy_tfevents *t, const char *tag) {
    t->value.n = t->part.n = 0;
    sy_proto_string(&t->value, 1, tag);
}

static void end_value(struct sy_tfevents *t) { sy_proto_bytes(&t->summary, 1, t->value.s, t->value.n); }

void sy_tfevents_scalar(struct sy_tfevents *t, const char *tag, double value) {
    begin_value(t, tag);
    sy_proto_float(&t->value, 2, (float)value);
    end_value(t);
}

/* HistogramProto: min 1, max 2, num 3, sum 4, sum_squares 5, bucket_limit 6, bucket 7 (packed). */
void sy_tfevents_histogram(struct sy_tfevents *t, const char *tag, const int64_t *count, int64_t n) {
    double num = 0, sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) {
        num += (double)count[i];
        sum += (double)i * (double)count[i];
        squares += (double)i * (double)i * (double)count[i];
    }
    begin_value(t, tag);
    sy_proto_double(&t->part, 1, -0.5);
    sy_proto_double(&t->part, 2, (double)n - 0.5);
    sy_proto_double(&t->part, 3, num);
    sy_proto_double(&t->part, 4, sum);
    sy_proto_double(&t->part, 5, squares);
    for (int field = 6; field <= 7; field++) {
        key(&t->part, field, BYTES);
        varint(&t->part, 8 * (uint64_t)n);
        for (int64_t i = 0; i < n; i++)
            raw_double(&t->part, field == 6 ? (double)i + 0.5 : (double)count[i]);
    }
    sy_proto_bytes(&t->value, 5, t->part.s, t->part.n);
    end_value(t);
}

/* TensorProto: dtype 1 (7: string, 1: float), tensor_shape 2, string_val 8. SummaryMetadata: plugin_data 1
 * {plugin_name 1, content 2}. */
void sy_tfevents_plugin(struct sy_tfevents *t, const char *tag, const char *plugin,
                        const struct sy_text *content, const char *text) {
    begin_value(t, tag);
    sy_proto_int(&t->part, 1, text ? 7 : 1);
    sy_proto_bytes(&t->part, 2, "\x12\x02\x08\x00", text ? 0 : 4); /* a scalar; one dim of size 0 */
    if (text)
        sy_proto_string(&t->part, 8, text);
    sy_proto_bytes(&t->value, 8, t->part.s, t->part.n);
    t->part.n = 0;
    struct sy_text data = {0};
    sy_proto_string(&data, 1, plugin);
    if (content)
        sy_proto_bytes(&data, 2, content->s, content->n);
    sy_proto_bytes(&t->part, 1, data.s, data.n);
    t->value.failed |= data.failed;
    free(data.s);
    sy_proto_bytes(&t->value, 9, t->part.s, t->part.n);
    end_value(t);
}

/* --- the file ------------------------------------------------------------------------------------------- */

static sy_status put_record(struct sy_tfevents *t, const struct sy_text *m) {
    unsigned char head[HEAD], tail[TAIL];
    little(head, m->n, 8);
    little(head + 8, masked(crc32c(head, 8)), 4);
    little(tail, masked(crc32c(m->s, m->n)), 4);
    if (fwrite(head, 1, HEAD, t->file) != HEAD || fwrite(m->s, 1, m->n, t->file) != m->n ||
        fwrite(tail, 1, TAIL, t->file) != TAIL)
        SY_FAIL(SY_ERR_IO, "%s: cannot be written: %s", t->path, strerror(errno));
    return SY_OK;
}

/* Event: wall_time 1, step 2, file_version 3, summary 5. */
sy_status sy_tfevents_write(struct sy_tfevents *t, int64_t step, double wall_time) {
    t->event.n = 0;
    sy_proto_double(&t->event, 1, wall_time);
    sy_proto_int(&t->event, 2, (uint64_t)step);
    sy_proto_bytes(&t->event, 5, t->summary.s, t->summary.n);
    t->summary.n = 0;
    if (t->event.failed || t->summary.failed || t->value.failed || t->part.failed)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory for an event", t->path);
    return put_record(t, &t->event);
}

sy_status sy_tfevents_flush(struct sy_tfevents *t) {
    if (fflush(t->file) != 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot be written: %s", t->path, strerror(errno));
    return SY_OK;
}

/* Event.step of our own messages: the second field, behind 9 bytes of wall_time; 0 of the first record. */
static int64_t step_of(const unsigned char *m, size_t n) {
    uint64_t v = 0;
    if (n < 11 || m[0] != (1 << 3 | FIXED64) || m[9] != (2 << 3 | VARINT))
        return 0;
    for (size_t i = 10, shift = 0; i < n && shift < 64; i++, shift += 7) {
        v |= (uint64_t)(m[i] & 127) << shift;
        if (!(m[i] & 128))
            break;
    }
    return (int64_t)v;
}

/* Where the first record begins that is torn, damaged or of a later step. */
static sy_status keep(struct sy_tfevents *t, int64_t step, off_t *end) {
    unsigned char head[HEAD], tail[TAIL], *m = NULL;
    off_t at = 0;
    sy_status status = SY_OK;
    while (status == SY_OK && fread(head, 1, HEAD, t->file) == HEAD) {
        uint64_t n = from_little(head, 8);
        int fits = from_little(head + 8, 4) == masked(crc32c(head, 8)) && n <= MAX_RECORD;
        unsigned char *larger = fits ? realloc(m, n + 1) : NULL;
        if (!larger)
            break;
        m = larger;
        if (fread(m, 1, n, t->file) != n || fread(tail, 1, TAIL, t->file) != TAIL ||
            from_little(tail, 4) != masked(crc32c(m, n)) || step_of(m, n) > step)
            break;
        at += (off_t)(HEAD + n + TAIL);
    }
    free(m);
    *end = at;
    if (status == SY_OK && at == 0 && fseeko(t->file, 0, SEEK_END) == 0 && ftello(t->file) > 0)
        status =
            sy_fail(SY_ERR_DATA, "%s: is there and is no event file of TensorBoard; move it away", t->path);
    return status;
}

static sy_status put_version(struct sy_tfevents *t) {
    t->event.n = 0;
    sy_proto_double(&t->event, 1, 0);
    sy_proto_string(&t->event, 3, "brain.Event:2");
    t->is_new = 1;
    return put_record(t, &t->event);
}

static sy_status open_file(struct sy_tfevents *t, int64_t step) {
    off_t end;
    t->file = fopen(t->path, "a+");
    if (!t->file)
        SY_FAIL(SY_ERR_IO, "%s: cannot be opened for writing: %s", t->path, strerror(errno));
    rewind(t->file);
    SY_TRY(keep(t, step, &end));
    if (fseeko(t->file, 0, SEEK_END) != 0 || ftruncate(fileno(t->file), end) != 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot be cut after step %lld: %s", t->path, (long long)step,
                strerror(errno));
    return end == 0 ? put_version(t) : SY_OK;
}

sy_status sy_tfevents_open(const char *path, int64_t step, struct sy_tfevents *t) {
    *t = (struct sy_tfevents){0};
    snprintf(t->path, sizeof t->path, "%s", path);
    sy_status status = open_file(t, step);
    if (status != SY_OK)
        sy_tfevents_close(t);
    return status;
}

void sy_tfevents_close(struct sy_tfevents *t) {
    if (t->file)
        fclose(t->file);
    t->file = NULL;
    struct sy_text *const texts[] = {&t->event, &t->summary, &t->value, &t->part};
    for (int i = 0; i < 4; i++) {
        free(texts[i]->s);
        *texts[i] = (struct sy_text){0};
    }
}
