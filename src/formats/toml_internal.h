/* What the files of the TOML reader share: toml.c (documents, tables, statements), toml_value.c (strings,
 * arrays, inline tables), toml_scalar.c (numbers, dates), toml_text.c (UTF-8).
 */
#ifndef SY_FORMATS_TOML_INTERNAL_H
#define SY_FORMATS_TOML_INTERNAL_H

#include "formats/toml.h"

/* What may still be done with a table or an array. */
enum sy_toml_state {
    SY_TOML_OPEN_IMPLICIT, /* made by a header below it: [it] may still come */
    SY_TOML_OPEN_DOTTED,   /* made by a dotted key: more dotted keys may come, [it] may not */
    SY_TOML_DEFINED,       /* has had its header */
    SY_TOML_CLOSED,        /* inline table or array: nothing may be added */
    SY_TOML_OF_TABLES      /* array of tables: [[it]] appends */
};

struct sy_toml_parser {
    const char *name;
    const char *p, *end;
    int line;
    struct sy_toml *doc;
};

/* Fails with `name:line: ` before the text. */
sy_status sy_toml_fail(const struct sy_toml_parser *in, const char *fmt, ...) SY_PRINTF(2, 3);

/* Zeroed memory that lives as long as the document; NULL when there is none. sy_toml_no_memory is the
 * error for that. */
void *sy_toml_take(struct sy_toml *doc, size_t bytes);
sy_status sy_toml_no_memory(const struct sy_toml_parser *in);

/* A value of `type` at the parser's line, `depth` levels down. Errors: too deep, no memory. */
sy_status sy_toml_value_new(const struct sy_toml_parser *in, enum sy_toml_type type, int depth,
                            struct sy_toml_value **out);

/* Reads `key = value` or `a.b.key = value` into a table, up to the end of the value. */
sy_status sy_toml_read_pair(struct sy_toml_parser *in, struct sy_toml_value *table);

/* Reads one value that stands `depth` levels down. */
sy_status sy_toml_read_value(struct sy_toml_parser *in, int depth, struct sy_toml_value **out);

/* Reads a quoted string on one line (in->p at the quote): a key. */
sy_status sy_toml_read_line_string(struct sy_toml_parser *in, struct sy_toml_string *out);

/* The whole text, before anything is read. Errors: the first bad byte's line. */
sy_status sy_toml_check_text(struct sy_toml_parser *in);

void sy_toml_skip_blanks(struct sy_toml_parser *in); /* spaces and tabs */

#endif
