/* Ids as files store them, little-endian, made int32. */
#ifndef SY_FORMATS_TOKEN_IDS_H
#define SY_FORMATS_TOKEN_IDS_H

#include <stdint.h>

/* enumerator, C type */
#define SY_IDS_LIST(X) \
    X(U8, uint8_t)     \
    X(I8, int8_t)      \
    X(U16, uint16_t)   \
    X(I16, int16_t)    \
    X(U32, uint32_t)   \
    X(I32, int32_t)    \
    X(I64, int64_t)

enum sy_ids {
#define X(name, type) SY_IDS_##name,
    SY_IDS_LIST(X)
#undef X
};

int sy_ids_bytes(enum sy_ids ids);

/* Local. n ids from `from`, which need not be aligned; what no int32 holds becomes -1. */
void sy_ids_widen(enum sy_ids ids, const void *from, int64_t n, int32_t *to);

/* Local. Id i of `from`, whole. */
int64_t sy_ids_at(enum sy_ids ids, const void *from, int64_t i);

/* Local. The first of n that is not in 0 … n_ids-1; n: none. */
int64_t sy_ids_check(const int32_t *id, int64_t n, int32_t n_ids);

#endif
