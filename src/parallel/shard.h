/* Which rank owns which part of a tensor's master weight and moments: whole blocks of 1024 elements, the unit
 * of the gradient's norm (NUMERICS 3), so that any number of ranks works. */
#ifndef SY_PARALLEL_SHARD_H
#define SY_PARALLEL_SHARD_H

#include <stdint.h>

enum { SY_SHARD_BLOCK = 1024 };

struct sy_shard {
    int rank, size;
};

struct sy_range_of { /* elements of a tensor */
    int64_t first, n;
};

struct sy_share { /* contiguous: lanes, experts or layers */
    int64_t first, n;
};

/* The i-th of `parts` contiguous shares of n: the first n mod parts have one more. */
static inline struct sy_share sy_deal(int64_t n, int64_t parts, int64_t i) {
    int64_t each = n / parts, more = n % parts;
    return (struct sy_share){i * each + (i < more ? i : more), each + (i < more)};
}

/* What this rank owns of a tensor of n elements. */
static inline struct sy_range_of sy_shard_range(const struct sy_shard *s, int64_t n) {
    int64_t blocks = (n + SY_SHARD_BLOCK - 1) / SY_SHARD_BLOCK;
    int64_t lo = blocks * s->rank / s->size * SY_SHARD_BLOCK,
            hi = blocks * (s->rank + 1) / s->size * SY_SHARD_BLOCK;
    lo = lo < n ? lo : n;
    hi = hi < n ? hi : n;
    return (struct sy_range_of){lo, hi - lo};
}

#endif
