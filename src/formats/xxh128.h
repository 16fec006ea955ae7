/* An XXH3-128 as 32 hex digits, in xxhsum's order. */
#ifndef SY_FORMATS_XXH128_H
#define SY_FORMATS_XXH128_H

#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

static inline void sy_xxh128_hex(XXH128_hash_t hash, char out[33]) {
    snprintf(out, 33, "%016" PRIx64 "%016" PRIx64, (uint64_t)hash.high64, (uint64_t)hash.low64);
}

#endif
