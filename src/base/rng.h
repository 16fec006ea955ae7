/* Counter-based random numbers (NUMERICS 2): Philox4x32-10 of Salmon et al., "Parallel Random Numbers: As
 * Easy as 1, 2, 3" (SC 2011). A number is a function of (seed, purpose, step, tensor id, index, retry), never
 * of who asks or how often.
 */
#ifndef SY_BASE_RNG_H
#define SY_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

enum sy_rng_purpose { SY_RNG_INIT = 1, SY_RNG_SAMPLE = 2, SY_RNG_SHUFFLE = 3 };

/* SplitMix64's finaliser. */
static inline uint64_t sy_mix64(uint64_t z) {
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
uint64_t sy_rng_key(uint64_t seed, enum sy_rng_purpose purpose, uint32_t step, uint64_t tensor_id);

/* Four words for counter (index lo, index hi, retry, 0). */
void sy_rng_philox(uint64_t key, uint64_t index, uint32_t retry, uint32_t out[4]);

/* Standard normal in fp64 from words 0 and 1. */
double sy_rng_normal(uint64_t key, uint64_t index, uint32_t retry);

/* Normal of deviation `sd`; with cut > 0, values beyond |cut| are drawn again with the next retry,
 * at most 1000 times: a cut below a thousandth of sd is not meant. */
double sy_rng_normal_cut(uint64_t key, uint64_t index, double sd, double cut);

/* (word 0 + 1/2) 2^-32, in (0, 1). */
double sy_rng_uniform(uint64_t key, uint64_t index);

#endif
