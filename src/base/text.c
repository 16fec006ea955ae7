/* A text that grows: see text.h. */
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

int sy_text_add(struct sy_text *t, const char *s, size_t n) {
    if (t->failed)
        return 0;
    if (t->n + n + 1 > t->capacity) {
        size_t capacity = 2 * (t->n + n + 1);
        char *larger = realloc(t->s, capacity);
        if (!larger) {
            t->failed = 1;
            return 0;
        }
        t->s = larger;
        t->capacity = capacity;
    }
    if (n)
        memcpy(t->s + t->n, s, n);
    t->n += n;
    t->s[t->n] = 0;
    return 1;
}

void sy_text_write(void *user, const char *s, size_t n) { sy_text_add(user, s, n); }
