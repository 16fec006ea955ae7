/* TOML documents: memory, tables, headers and key/value pairs. See toml.h.
 *
 * Redefinition rules live in `step_into` and `state` (toml_internal.h): a header may pass through anything
 * but closed values, and may define a table once; a dotted key may only extend tables that dotted keys of the
 * same table made.
 */
#include "formats/toml_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 16 << 10 };

struct chunk {
    struct chunk *next;
    size_t used, size;
    max_align_t data[];
};

struct slot {
    const struct sy_toml_value *table;
    struct sy_toml_entry *entry;
};

struct sy_toml {
    struct chunk *chunks;
    struct sy_toml_value *root;
    struct slot *slots; /* open addressing over (table, key) */
    size_t n_slots, n_entries;
};

void *sy_toml_take(struct sy_toml *doc, size_t bytes) {
    size_t n = (bytes + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    if (!doc->chunks || doc->chunks->size - doc->chunks->used < n) {
        size_t size = n > CHUNK_BYTES ? n : CHUNK_BYTES;
        struct chunk *c = calloc(1, sizeof *c + size);
        if (!c)
            return NULL;
        c->size = size;
        c->next = doc->chunks;
        doc->chunks = c;
    }
    void *at = (char *)doc->chunks->data + doc->chunks->used;
    doc->chunks->used += n;
    return at;
}

sy_status sy_toml_no_memory(const struct sy_toml_parser *in) {
    SY_FAIL(SY_ERR_MEMORY, "%s:%d: no memory for this document", in->name, in->line);
}

sy_status sy_toml_fail(const struct sy_toml_parser *in, const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return sy_fail(SY_ERR_USAGE, "%s:%d: %s", in->name, in->line, text);
}

sy_status sy_toml_value_new(const struct sy_toml_parser *in, enum sy_toml_type type, int depth,
                            struct sy_toml_value **out) {
    if (depth > SY_TOML_MAX_DEPTH)
        return sy_toml_fail(in, "nested more than %d deep", SY_TOML_MAX_DEPTH);
    struct sy_toml_value *v = sy_toml_take(in->doc, sizeof *v);
    if (!v)
        return sy_toml_no_memory(in);
    v->type = type;
    v->line = in->line;
    v->depth = depth;
    *out = v;
    return SY_OK;
}

/* ---- tables ---- */

static size_t hash(const struct sy_toml_value *table, struct sy_toml_string key) {
    uint64_t h = 0xcbf29ce484222325u ^ (uint64_t)(uintptr_t)table;
    for (size_t i = 0; i < key.n; i++)
        h = (h ^ (unsigned char)key.text[i]) * 0x100000001b3u;
    h ^= h >> 32;
    return (size_t)(h * 0x9e3779b97f4a7c15u >> 16);
}

/* The slot that holds the key, or the free one where it belongs. There is always a free one. */
static struct slot *slot_of(const struct sy_toml *doc, const struct sy_toml_value *table,
                            struct sy_toml_string key) {
    size_t i = hash(table, key) & (doc->n_slots - 1);
    for (;; i = (i + 1) & (doc->n_slots - 1)) {
        struct slot *s = &doc->slots[i];
        if (!s->entry ||
            (s->table == table && s->entry->key.n == key.n && !memcmp(s->entry->key.text, key.text, key.n)))
            return s;
    }
}

static sy_status make_room(const struct sy_toml_parser *in) {
    struct sy_toml *doc = in->doc;
    if (doc->slots && 2 * (doc->n_entries + 1) <= doc->n_slots)
        return SY_OK;
    struct sy_toml wider = {.n_slots = doc->slots ? 4 * doc->n_slots : 64};
    wider.slots = calloc(wider.n_slots, sizeof *wider.slots);
    if (!wider.slots)
        return sy_toml_no_memory(in);
    for (size_t i = 0; i < doc->n_slots; i++)
        if (doc->slots[i].entry)
            *slot_of(&wider, doc->slots[i].table, doc->slots[i].entry->key) = doc->slots[i];
    free(doc->slots);
    doc->slots = wider.slots;
    doc->n_slots = wider.n_slots;
    return SY_OK;
}

static struct sy_toml_entry *find(const struct sy_toml_parser *in, const struct sy_toml_value *table,
                                  struct sy_toml_string key) {
    return in->doc->slots ? slot_of(in->doc, table, key)->entry : NULL;
}

/* Adds a key that is not there. */
static sy_status add(const struct sy_toml_parser *in, struct sy_toml_value *table, struct sy_toml_string key,
                     struct sy_toml_value *value, int line) {
    SY_TRY(make_room(in));
    struct sy_toml_entry *e = sy_toml_take(in->doc, sizeof *e);
    if (!e)
        return sy_toml_no_memory(in);
    *e = (struct sy_toml_entry){.key = key, .line = line, .value = value};
    *slot_of(in->doc, table, key) = (struct slot){table, e};
    in->doc->n_entries++;
    if (table->as.table.last)
        table->as.table.last->next = e;
    else
        table->as.table.first = e;
    table->as.table.last = e;
    table->as.table.n++;
    return SY_OK;
}

/* The table `key` of `table` on the way to a deeper key, made if it is not there. `header`: the way of a
 * [header], otherwise of a dotted key. */
static sy_status step_into(const struct sy_toml_parser *in, struct sy_toml_value **table,
                           struct sy_toml_string key, bool header) {
    struct sy_toml_entry *e = find(in, *table, key);
    if (!e) {
        struct sy_toml_value *v = NULL;
        SY_TRY(sy_toml_value_new(in, SY_TOML_TABLE, (*table)->depth + 1, &v));
        v->state = header ? SY_TOML_OPEN_IMPLICIT : SY_TOML_OPEN_DOTTED;
        SY_TRY(add(in, *table, key, v, in->line));
        *table = v;
        return SY_OK;
    }
    struct sy_toml_value *v = e->value;
    if (header && v->type == SY_TOML_ARRAY && v->state == SY_TOML_OF_TABLES)
        v = v->as.array.last;
    if (v->type != SY_TOML_TABLE)
        return sy_toml_fail(in, "'%s' is %s since line %d, not a table", key.text, sy_toml_type_name(v->type),
                            e->line);
    if (v->state == SY_TOML_CLOSED)
        return sy_toml_fail(in, "'%s' is an inline table since line %d, nothing can be added to it", key.text,
                            e->line);
    if (!header && v->state != SY_TOML_OPEN_DOTTED)
        return sy_toml_fail(in, "table '%s' was defined in line %d, a dotted key cannot add to it", key.text,
                            e->line);
    *table = v;
    return SY_OK;
}

/* ---- keys ---- */

void sy_toml_skip_blanks(struct sy_toml_parser *in) {
    while (in->p < in->end && (*in->p == ' ' || *in->p == '\t'))
        in->p++;
}

static bool is_bare(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static sy_status read_key_part(struct sy_toml_parser *in, struct sy_toml_string *out) {
    sy_toml_skip_blanks(in);
    if (in->p == in->end || *in->p == '\n' || *in->p == '\r')
        return sy_toml_fail(in, "a key is missing");
    if (*in->p == '"' || *in->p == '\'')
        return sy_toml_read_line_string(in, out);
    const char *start = in->p;
    while (in->p < in->end && is_bare(*in->p))
        in->p++;
    size_t n = (size_t)(in->p - start);
    if (!n && (unsigned char)*in->p >= 0x80)
        return sy_toml_fail(in, "a key with letters other than A-Z, a-z needs quotes");
    if (!n)
        return sy_toml_fail(in, "a key is missing before '%c'", *in->p);
    char *text = sy_toml_take(in->doc, n + 1);
    if (!text)
        return sy_toml_no_memory(in);
    memcpy(text, start, n);
    *out = (struct sy_toml_string){text, n};
    return SY_OK;
}

/* Reads a.b.c, stepping into all but the last part. */
static sy_status read_key(struct sy_toml_parser *in, struct sy_toml_value **table, bool header,
                          struct sy_toml_string *last) {
    for (;;) {
        SY_TRY(read_key_part(in, last));
        sy_toml_skip_blanks(in);
        if (in->p == in->end || *in->p != '.')
            return SY_OK;
        in->p++;
        SY_TRY(step_into(in, table, *last, header));
    }
}

sy_status sy_toml_read_pair(struct sy_toml_parser *in, struct sy_toml_value *table) {
    struct sy_toml_string key = {0};
    struct sy_toml_value *value;
    int line = in->line;
    SY_TRY(read_key(in, &table, false, &key));
    if (in->p == in->end || *in->p != '=')
        return sy_toml_fail(in, "'=' is missing after key '%s'", key.text);
    in->p++;
    struct sy_toml_entry *e = find(in, table, key);
    if (e)
        return sy_toml_fail(in, "key '%s' is already there since line %d", key.text, e->line);
    sy_toml_skip_blanks(in);
    SY_TRY(sy_toml_read_value(in, table->depth + 1, &value));
    return add(in, table, key, value, line);
}

/* ---- statements ---- */

static sy_status end_header(struct sy_toml_parser *in, int n_brackets) {
    for (int i = 0; i < n_brackets; i++, in->p++)
        if (in->p == in->end || *in->p != ']')
            return sy_toml_fail(in, "%s is missing at the end of the header",
                                n_brackets == 1 ? "']'" : "']]'");
    return SY_OK;
}

/* [a.b]: `table` holds b. */
static sy_status define_table(struct sy_toml_parser *in, struct sy_toml_value *table,
                              struct sy_toml_string key, struct sy_toml_value **out) {
    struct sy_toml_entry *e = find(in, table, key);
    if (!e) {
        SY_TRY(sy_toml_value_new(in, SY_TOML_TABLE, table->depth + 1, out));
        (*out)->state = SY_TOML_DEFINED;
        return add(in, table, key, *out, in->line);
    }
    if (e->value->type != SY_TOML_TABLE)
        return sy_toml_fail(in, "'%s' is %s since line %d, not a table", key.text,
                            sy_toml_type_name(e->value->type), e->line);
    if (e->value->state != SY_TOML_OPEN_IMPLICIT)
        return sy_toml_fail(in, "table '%s' was already defined in line %d", key.text, e->line);
    *out = e->value;
    (*out)->state = SY_TOML_DEFINED;
    (*out)->line = e->line = in->line;
    return SY_OK;
}

/* [[a.b]]: a new table at the end of array b. */
static sy_status append_table(struct sy_toml_parser *in, struct sy_toml_value *table,
                              struct sy_toml_string key, struct sy_toml_value **out) {
    struct sy_toml_entry *e = find(in, table, key);
    struct sy_toml_value *array = NULL;
    if (!e) {
        SY_TRY(sy_toml_value_new(in, SY_TOML_ARRAY, table->depth + 1, &array));
        array->state = SY_TOML_OF_TABLES;
        SY_TRY(add(in, table, key, array, in->line));
    } else {
        array = e->value;
        if (array->type != SY_TOML_ARRAY || array->state != SY_TOML_OF_TABLES)
            return sy_toml_fail(in, "'%s' is %s since line %d, not an array of tables", key.text,
                                sy_toml_type_name(array->type), e->line);
    }
    SY_TRY(sy_toml_value_new(in, SY_TOML_TABLE, array->depth + 1, out));
    (*out)->state = SY_TOML_DEFINED;
    if (array->as.array.last)
        array->as.array.last->next = *out;
    else
        array->as.array.first = *out;
    array->as.array.last = *out;
    array->as.array.n++;
    return SY_OK;
}

static sy_status read_header(struct sy_toml_parser *in, struct sy_toml_value **current) {
    struct sy_toml_value *table = in->doc->root;
    struct sy_toml_string key = {0};
    int n = in->p + 1 < in->end && in->p[1] == '[' ? 2 : 1;
    in->p += n;
    SY_TRY(read_key(in, &table, true, &key));
    SY_TRY(end_header(in, n));
    return n == 1 ? define_table(in, table, key, current) : append_table(in, table, key, current);
}

/* A comment if there is one, then the end of the line or of the document. */
static sy_status end_line(struct sy_toml_parser *in) {
    sy_toml_skip_blanks(in);
    if (in->p < in->end && *in->p == '#')
        while (in->p < in->end && *in->p != '\n' && *in->p != '\r')
            in->p++;
    if (in->p == in->end)
        return SY_OK;
    if (*in->p == '\r')
        in->p++; /* a newline follows: sy_toml_check_text */
    if (*in->p != '\n')
        return sy_toml_fail(in, "the line should end before '%.*s'",
                            (int)(in->end - in->p < 8 ? in->end - in->p : 8), in->p);
    in->p++;
    in->line++;
    return SY_OK;
}

static sy_status read_document(struct sy_toml_parser *in) {
    struct sy_toml_value *current = in->doc->root;
    while (in->p < in->end) {
        sy_toml_skip_blanks(in);
        if (in->p < in->end && *in->p == '[')
            SY_TRY(read_header(in, &current));
        else if (in->p < in->end && *in->p != '#' && *in->p != '\n' && *in->p != '\r')
            SY_TRY(sy_toml_read_pair(in, current));
        SY_TRY(end_line(in));
    }
    return SY_OK;
}

/* ---- the whole text ---- */

sy_status sy_toml_parse(const char *name, const void *bytes, size_t n, struct sy_toml **out) {
    struct sy_toml_parser in = {.name = name, .line = 1};
    if (n > SY_TOML_MAX_BYTES)
        return sy_fail(SY_ERR_USAGE, "%s: %zu bytes: a TOML document may have %d at most", name, n,
                       SY_TOML_MAX_BYTES);
    if (!(in.doc = calloc(1, sizeof *in.doc)))
        return sy_toml_no_memory(&in);
    in.p = n ? bytes : "";
    in.end = in.p + n;
    if (n >= 3 && !memcmp(in.p, "\xef\xbb\xbf", 3))
        in.p += 3; /* a byte order mark */
    sy_status status = sy_toml_check_text(&in);
    if (status == SY_OK)
        status = sy_toml_value_new(&in, SY_TOML_TABLE, 0, &in.doc->root);
    if (status == SY_OK) {
        in.doc->root->state = SY_TOML_DEFINED;
        status = read_document(&in);
    }
    if (status != SY_OK) {
        sy_toml_destroy(in.doc);
        return status;
    }
    *out = in.doc;
    return SY_OK;
}

void sy_toml_destroy(struct sy_toml *doc) {
    if (!doc)
        return;
    while (doc->chunks) {
        struct chunk *c = doc->chunks;
        doc->chunks = c->next;
        free(c);
    }
    free(doc->slots);
    free(doc);
}

const struct sy_toml_value *sy_toml_root(const struct sy_toml *doc) { return doc->root; }

const struct sy_toml_value *sy_toml_get(const struct sy_toml_value *table, const char *key) {
    size_t n = strlen(key);
    if (table && table->type == SY_TOML_TABLE)
        for (const struct sy_toml_entry *e = table->as.table.first; e; e = e->next)
            if (e->key.n == n && !memcmp(e->key.text, key, n))
                return e->value;
    return NULL;
}

const char *sy_toml_type_name(enum sy_toml_type type) {
    static const char *const names[] = {
        "a string",          "an integer",   "a float",      "a boolean", "a date-time",
        "a local date-time", "a local date", "a local time", "an array",  "a table"};
    return names[type];
}
