/* Digests that do not depend on who holds what (NUMERICS 6).
 *
 * For salt 1 and 2: the sum mod 2^64 over elements i of mix((k + i*0x9e3779b97f4a7c15) XOR bits_i), k =
 * mix(id + salt), id = FNV-1a 64 of the tensor's name, NaN as 0x7fc00000. Addition commutes, so parts of a
 * tensor and tensors can be digested in any order, by any thread or rank, and added.
 */
#ifndef SY_BASE_DIGEST_H
#define SY_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"

struct sy_digest {
    uint64_t sum[2];
};

/* A tensor's key of salt 1 + s, and what element i with these bits adds; fold: any NaN is one. */
#define SY_GOLDEN 0x9e3779b97f4a7c15u
SY_BOTH uint64_t sy_digest_key(uint64_t id, int s) { return sy_mix64(id + (uint64_t)s + 1); }
SY_BOTH uint64_t sy_digest_term(uint64_t key, uint64_t i, uint32_t bits, int fold) {
    bits = fold && (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc00000u : bits;
    return sy_mix64((key + i * SY_GOLDEN) ^ bits);
}

enum { SY_DIGEST_CHARS = 33 }; /* 32 hex digits and NUL */

/* Adds elements first .. first+n-1 of the fp32 tensor `id`; x points at element `first`. Inline, so that each
 * tier vectorises it: the terms i*0x9e3779b97f4a7c15 are added up on the way. */
static inline void sy_digest_add(struct sy_digest *d, uint64_t id, uint64_t first, const float *x, size_t n,
                                 int fold) {
    uint64_t key0 = sy_digest_key(id, 0) + first * SY_GOLDEN, key1 = sy_digest_key(id, 1) + first * SY_GOLDEN;
    uint64_t sum0 = 0, sum1 = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = sy_f32_bits(x[i]);
        sum0 += sy_digest_term(key0, 0, bits, fold);
        sum1 += sy_digest_term(key1, 0, bits, fold);
        key0 += SY_GOLDEN;
        key1 += SY_GOLDEN;
    }
    d->sum[0] += sum0;
    d->sum[1] += sum1;
}

/* The same, compiled once. */
void sy_digest_add_f32(struct sy_digest *d, uint64_t id, uint64_t first, const float *x, size_t n);

/* The same over the words as they are: a NaN is not folded, every bit counts. */
void sy_digest_add_words(struct sy_digest *d, uint64_t id, uint64_t first, const float *x, size_t n);

static inline void sy_digest_join(struct sy_digest *d, const struct sy_digest *other) {
    d->sum[0] += other->sum[0];
    d->sum[1] += other->sum[1];
}

void sy_digest_hex(const struct sy_digest *d, char out[SY_DIGEST_CHARS]);

#endif
