/* Digests: see digest.h. */
#include "base/digest.h"

#include <stdio.h>
#include <string.h>

#include "base/rng.h"

static const uint64_t golden = 0x9e3779b97f4a7c15u;

static inline void add(struct sy_digest *d, uint64_t id, uint64_t first, const float *x, size_t n, int fold) {
    for (int s = 0; s < 2; s++) {
        uint64_t k = sy_mix64(id + (uint64_t)s + 1) + first * golden, sum = 0;
        for (size_t i = 0; i < n; i++) {
            uint32_t bits;
            memcpy(&bits, x + i, sizeof bits);
            bits = fold && (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc00000u : bits;
            sum += sy_mix64((k + (uint64_t)i * golden) ^ bits);
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
