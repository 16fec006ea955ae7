/* Tokens by id and ids by token: an array of strings of bytes, and a hash of it (open addressing). */
#ifndef SY_TOKENIZER_STRINGS_H
#define SY_TOKENIZER_STRINGS_H

#include <stddef.h>
#include <stdint.h>

struct sy_string {
    size_t offset;
    int32_t length; /* -1: no token has this id */
};

struct sy_strings {
    char *text;
    size_t n_text, text_capacity;
    struct sy_string *of; /* by id */
    int32_t n, capacity;  /* the largest id + 1 */
    int32_t n_used;       /* tokens that there are */
    int32_t *slot;        /* id + 1; 0: free; a power of two of them */
    uint32_t n_slots;
};

enum sy_strings_result { SY_STRINGS_ADDED, SY_STRINGS_TWICE, SY_STRINGS_ID_TWICE, SY_STRINGS_NO_MEMORY };

/* Local. Gives the string an id >= 0, unless one of both is there already. {0} is an empty table. */
enum sy_strings_result sy_strings_add(struct sy_strings *s, int32_t id, const char *text, size_t n);

/* Local. The id, or -1. */
int32_t sy_strings_find(const struct sy_strings *s, const char *text, size_t n);

/* Local. The string of an id, not NUL-terminated; NULL if there is none. */
const char *sy_strings_get(const struct sy_strings *s, int32_t id, size_t *n);

void sy_strings_free(struct sy_strings *s);

#endif
