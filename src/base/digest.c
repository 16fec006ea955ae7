/* Digests: see digest.h. */
#include "base/digest.h"

#include <stdio.h>
#include <string.h>

static inline void add(struct sy_digest *d, uint64_t id, uint64_t first, const float *x, size_t n, int fold) {
    for (int s = 0; s < 2; s++) {
        uint64_t key = sy_digest_key(id, s), sum = 0;
        for (size_t i = 0; i < n; i++) {
            uint32_t bits;
            memcpy(&bits, x + i, sizeof bits);
            sum += sy_digest_term(key, first + i, bits, fold);
        }
        d->sum[s] += sum;
    }
}

void sy_digest_add_f32(struct sy_digest *d, uint64_t id, uint64_t first, const float *x, size_t n) {
    add(d, id, first, x, n, 1);
}

void sy_digest_add_words(struct sy_digest *d, uint64_t id, uint64_t first, const float *x, size_t n) {
    add(d, id, first, x, n, 0);
}

void sy_digest_hex(const struct sy_digest *d, char out[SY_DIGEST_CHARS]) {
    snprintf(out, SY_DIGEST_CHARS, "%016llx%016llx", (unsigned long long)d->sum[0],
             (unsigned long long)d->sum[1]);
}
