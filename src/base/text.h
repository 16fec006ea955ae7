/* A text that grows. {0} is an empty one; `s` is NULL or NUL-terminated, from malloc, and the owner's to
 * free. */
#ifndef SY_BASE_TEXT_H
#define SY_BASE_TEXT_H

#include <stddef.h>

struct sy_text {
    char *s;
    size_t n, capacity; /* n: without the NUL */
    int failed;         /* no memory: what was added since is lost; may be looked at once at the end */
};

/* Local. Appends n bytes of s. 0 without memory (and from then on), else 1. */
int sy_text_add(struct sy_text *text, const char *s, size_t n);

/* Local. The same as a sy_write_fn; user is a struct sy_text. */
void sy_text_write(void *user, const char *s, size_t n);

#endif
