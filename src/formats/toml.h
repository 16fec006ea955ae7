/* TOML 1.0: a buffer of bytes becomes a tree that remembers the line of every key and value.
 *
 * Input is untrusted: it need not end in NUL, is checked for UTF-8 and control characters first, may have at
 * most SY_TOML_MAX_BYTES bytes and SY_TOML_MAX_DEPTH nested tables and arrays. Memory is proportional to it,
 * time too (one hash table of (table, key)). Floats beyond fp64 and integers beyond int64 are errors.
 */
#ifndef SY_FORMATS_TOML_H
#define SY_FORMATS_TOML_H

#include <stdbool.h>

#include "base/status.h"

enum { SY_TOML_MAX_BYTES = 16 << 20, SY_TOML_MAX_DEPTH = 128 };

enum sy_toml_type {
    SY_TOML_STRING,
    SY_TOML_INTEGER,
    SY_TOML_REAL,
    SY_TOML_BOOLEAN,
    SY_TOML_DATETIME, /* with offset */
    SY_TOML_DATETIME_LOCAL,
    SY_TOML_DATE_LOCAL,
    SY_TOML_TIME_LOCAL,
    SY_TOML_ARRAY,
    SY_TOML_TABLE
};

struct sy_toml_string {
    const char *text; /* n bytes of UTF-8, then NUL; may contain NUL */
    size_t n;
};

struct sy_toml_time {
    int year, month, day, hour, minute, second, nanosecond;
    int offset_minutes;
};

struct sy_toml_value {
    enum sy_toml_type type;
    int line;  /* 1 is the first */
    int depth; /* tables and arrays around it */
    int state; /* private to the parser: what may still be added */
    union {
        struct sy_toml_string string;
        int64_t integer;
        double real;
        bool boolean;
        struct sy_toml_time time;
        struct {
            struct sy_toml_value *first, *last; /* linked by next */
            int64_t n;
        } array;
        struct {
            struct sy_toml_entry *first, *last; /* in the order of the file */
            int64_t n;
        } table;
    } as;
    struct sy_toml_value *next;
};

struct sy_toml_entry {
    struct sy_toml_string key;
    int line;
    struct sy_toml_value *value;
    struct sy_toml_entry *next;
};

struct sy_toml;

/* Local. Errors: ERR_USAGE `name:line: what`, ERR_MEMORY. Owned by the caller: sy_toml_destroy (NULL is
 * fine). */
sy_status sy_toml_parse(const char *name, const void *bytes, size_t n, struct sy_toml **out);
void sy_toml_destroy(struct sy_toml *doc);

/* Local. The root table; lives as long as the document. */
const struct sy_toml_value *sy_toml_root(const struct sy_toml *doc);

/* Local. The value of `key` in a table, NULL if there is none or `table` is no table. Linear in the table. */
const struct sy_toml_value *sy_toml_get(const struct sy_toml_value *table, const char *key);

/* Local. A boolean, number, date or time from exactly n bytes; fills type and as. Errors: ERR_USAGE saying
 * what is wrong, without a place; ERR_MEMORY. */
sy_status sy_toml_scalar(const char *text, size_t n, struct sy_toml_value *out);

/* Local. The shortest decimal that reads back as x, as a TOML float: "0.1", "1.0", "1e-8", "inf", "nan".
 * No locale. */
enum { SY_TOML_REAL_BYTES = 48 };
void sy_toml_real_print(double x, char out[SY_TOML_REAL_BYTES]);

/* Local. Whether n bytes are valid UTF-8 (RFC 3629). */
bool sy_toml_is_utf8(const char *text, size_t n);

/* Local. "a table", "a string", … for messages. */
const char *sy_toml_type_name(enum sy_toml_type type);

#endif
