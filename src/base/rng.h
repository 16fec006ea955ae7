/* Counter-based random numbers (NUMERICS 2): Philox4x32-10 of Salmon et al., "Parallel Random Numbers: As
 * Easy as 1, 2, 3" (SC 2011). A number is a function of (seed, purpose, step, tensor id, index, retry), never
 * of who asks or how often.
 */
#ifndef SY_BASE_RNG_H
#define SY_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

#include "base/fmath.h"

enum sy_rng_purpose { SY_RNG_INIT = 1, SY_RNG_SAMPLE = 2, SY_RNG_SHUFFLE = 3 };

/* SplitMix64's finaliser. */
SY_BOTH uint64_t sy_mix64(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* FNV-1a, 64 bits: the id of a tensor is that of its name. */
static inline uint64_t sy_fnv1a64(const char *s) {
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return h;
}

/* mix(mix(seed + purpose*2^32 + step) + tensor_id); tensor_id 0 where there is no tensor. */
SY_BOTH uint64_t sy_rng_key(uint64_t seed, enum sy_rng_purpose purpose, uint32_t step, uint64_t tensor_id) {
    return sy_mix64(sy_mix64(seed + ((uint64_t)purpose << 32) + step) + tensor_id);
}

/* Four words for counter (index lo, index hi, retry, 0). */
SY_BOTH void sy_rng_philox(uint64_t key, uint64_t index, uint32_t retry, uint32_t out[4]) {
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = retry, c3 = 0;
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(b >> 32) ^ c1 ^ k0, n2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c0 = n0;
        c1 = (uint32_t)b;
        c2 = n2;
        c3 = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* (word + 1/2) 2^-32, in (0, 1). */
SY_BOTH double sy_rng_unit(uint32_t word) { return ((double)word + 0.5) * 0x1p-32; }

/* The two factors of a standard normal, from a word each. */
SY_BOTH double sy_rng_radius(uint32_t word) { return sqrt(-2.0 * sy_log_f64(sy_rng_unit(word))); }
SY_BOTH double sy_rng_cosine(uint32_t word) { return sy_cos_f64(0x1.921fb54442d18p+2 * sy_rng_unit(word)); }

/* Standard normal in fp64 from words 0 and 1. */
SY_BOTH double sy_rng_normal(uint64_t key, uint64_t index, uint32_t retry) {
    uint32_t w[4];
    sy_rng_philox(key, index, retry, w);
    return sy_rng_radius(w[0]) * sy_rng_cosine(w[1]);
}

/* Normal of deviation `sd`; with cut > 0, values beyond |cut| are drawn again with the next retry,
 * at most 1000 times: a cut below a thousandth of sd is not meant. */
SY_BOTH double sy_rng_normal_cut(uint64_t key, uint64_t index, double sd, double cut) {
    for (uint32_t retry = 0;; retry++) {
        double x = sd * sy_rng_normal(key, index, retry);
        if (!(cut > 0.0) || (x <= cut && x >= -cut) || retry == 1000)
            return x;
    }
}

/* Word 0 in (0, 1). */
SY_BOTH double sy_rng_uniform(uint64_t key, uint64_t index) {
    uint32_t w[4];
    sy_rng_philox(key, index, 0, w);
    return sy_rng_unit(w[0]);
}

#endif
