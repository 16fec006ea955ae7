/* The first lines of a JSON Lines file: when all of them fail, the file is not what it was taken for,
 * and they say why. */
#ifndef SY_FORMATS_JSONL_FIRST_H
#define SY_FORMATS_JSONL_FIRST_H

#include <jansson.h>

#include "base/status.h"

enum { SY_JSONL_FIRST_LINES = 5, SY_JSONL_FIRST_KEYS = 12, SY_JSONL_KEY_BYTES = 48 };

struct sy_jsonl_first {
    int over;         /* one of the lines was good, or it has been said */
    int n, n_objects; /* lines that failed; those that are objects, so it is the key that is wrong */
    char opening;     /* of the first line: its first character */
    int64_t line;     /* its number */
    char why[200];    /* why it failed */
    char key[SY_JSONL_FIRST_KEYS][SY_JSONL_KEY_BYTES]; /* of the objects, in their order */
    int n_keys;
    int longest; /* the key of the longest string; -1: no key has one */
    size_t longest_bytes;
};

/* Local. A line that failed; `value` NULL when it is no JSON. */
void sy_jsonl_first_note(struct sy_jsonl_first *first, int64_t number, const char *line, size_t n,
                         const json_t *value, const char *why);

/* Local. ERR_DATA: what the file seems to be and what to do, naming data.format or data.text_key. */
sy_status sy_jsonl_first_refuse(const struct sy_jsonl_first *first, const char *name, const char *text_key);

#endif
