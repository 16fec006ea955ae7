/* Digests: see digest.h. */
#include "base/digest.h"

#include <stdio.h>

void sy_digest_add_f32(struct sy_digest *d, uint64_t id, uint64_t first, const float *x, size_t n) {
    sy_digest_add(d, id, first, x, n, 1);
}

void sy_digest_add_words(struct sy_digest *d, uint64_t id, uint64_t first, const float *x, size_t n) {
    sy_digest_add(d, id, first, x, n, 0);
}

void sy_digest_hex(const struct sy_digest *d, char out[SY_DIGEST_CHARS]) {
    snprintf(out, SY_DIGEST_CHARS, "%016llx%016llx", (unsigned long long)d->sum[0],
             (unsigned long long)d->sum[1]);
}
