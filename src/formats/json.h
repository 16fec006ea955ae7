/* JSON that came from outside: a thin strict layer over jansson.
 *
 * Strict: UTF-8, no duplicate keys, nothing after the value, objects or arrays only, depth and size bounded
 * before jansson sees a byte. Errors read `name:line: why`; those of getters `name: key "k": why`, where
 * `name` is the file's name or any text that leads a user to the place. A getter's object may be NULL or no
 * object: that is an error too, never a crash. Broken JSON is ERR_DATA.
 */
#ifndef SY_FORMATS_JSON_H
#define SY_FORMATS_JSON_H

#include <jansson.h>

#include "base/status.h"

enum { SY_JSON_MAX_DEPTH = 64 };

/* Local. The line, from 1, where brackets outside strings nest deeper than max_depth; 0 if they do not. */
size_t sy_json_too_deep(const char *s, size_t bytes, int max_depth);

/* Local. json_loadb with the caller's flags, but sure to tell when memory ran out: jansson alone may then
 * call the text broken, or even drop characters of a string. On failure NULL and *out_of_memory, or else
 * *error. */
json_t *sy_json_decode(const void *data, size_t bytes, size_t flags, json_error_t *error, int *out_of_memory);

/* Local. json_dumps, but NULL whenever memory ran out: jansson alone may then return a text with a hole.
 * Freed with free. */
char *sy_json_dumps(const json_t *value, size_t flags);

/* Local. Parses `bytes` bytes at `data`; max_depth 0 means SY_JSON_MAX_DEPTH. The result is the caller's:
 * json_decref. */
sy_status sy_json_parse(const char *name, const void *data, size_t bytes, int max_depth, json_t **out);

/* Local. Typed getters: the key must be there and of the type; integers and reals inside [low, high]. An
 * integer is also a real. Strings and containers are borrowed from `object`; a string holds no NUL. */
sy_status sy_json_get_int(const char *name, const json_t *object, const char *key, int64_t low, int64_t high,
                          int64_t *out);
sy_status sy_json_get_real(const char *name, const json_t *object, const char *key, double low, double high,
                           double *out);
sy_status sy_json_get_string(const char *name, const json_t *object, const char *key, const char **out);
sy_status sy_json_get_object(const char *name, const json_t *object, const char *key, json_t **out);
sy_status sy_json_get_array(const char *name, const json_t *object, const char *key, json_t **out);

/* Local. 1 if `object` is an object that has `key` with a value other than null. */
int sy_json_has(const json_t *object, const char *key);

/* Local. A JSON string, the caller's: json_decref. Errors: ERR_USAGE not valid UTF-8, ERR_MEMORY. */
sy_status sy_json_string(const char *name, const char *s, json_t **out);

enum sy_json_style {
    SY_JSON_COMPACT = 0, /* one line, no spaces */
    SY_JSON_INDENT = 1,  /* two spaces, one key a line, newline at the end */
    SY_JSON_SORTED = 2   /* flag: keys in bytewise order instead of the order of insertion */
};

/* Local. Canonical text: the same value gives the same bytes; reals with 17 digits. *text is
 * NUL-terminated, the caller's: free(). Errors: ERR_MEMORY. */
sy_status sy_json_print(const json_t *value, int style, char **text, size_t *bytes);

#endif
