/* Numbers that tests and tools/make_oracles.py make alike: value i of a key is an integer formula, exact in
 * fp32. SplitMix64 over FNV-1a of a name.
 */
#ifndef SY_TESTS_LIB_ORACLE_VALUES_H
#define SY_TESTS_LIB_ORACLE_VALUES_H

#include <stdint.h>

static const uint64_t golden = 0x9e3779b97f4a7c15u, salt = 0x51ed2701u; /* salt: between the keys of a name */

static inline uint64_t mix(uint64_t z) {
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline uint64_t key_of(const char *name) {
    uint64_t key = 0xcbf29ce484222325u;
    for (; *name; name++)
        key = (key ^ (unsigned char)*name) * 0x100000001b3u;
    return key;
}

/* In [-1, 1), a multiple of 2^-23. */
static inline double unit(uint64_t key, uint64_t i) {
    return (double)((int64_t)(mix(key + i * golden) >> 40) - (1 << 23)) * 0x1p-23;
}

#endif
