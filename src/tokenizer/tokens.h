/* Token ids that grow in number. {0} is none; `id` is from malloc, and the owner's to free. */
#ifndef SY_TOKENIZER_TOKENS_H
#define SY_TOKENIZER_TOKENS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct sy_tokens {
    int32_t *id;
    size_t n, capacity;
    int failed; /* no memory: what was added since is lost; may be looked at once at the end */
};

static inline void sy_tokens_add(struct sy_tokens *t, const int32_t *id, size_t n) {
    if (t->capacity - t->n < n) {
        size_t capacity = 2 * (t->n + n) + 64;
        int32_t *larger = t->failed ? NULL : (int32_t *)realloc(t->id, capacity * sizeof *larger);
        if (!larger) {
            t->failed = 1;
            return;
        }
        t->id = larger;
        t->capacity = capacity;
    }
    if (n)
        memcpy(t->id + t->n, id, n * sizeof *id);
    t->n += n;
}

#endif
