/* Widening: see token_ids.h. */
#include "formats/token_ids.h"

#include <string.h>

static const int bytes[] = {
#define X(name, type) sizeof(type),
    SY_IDS_LIST(X)
#undef X
};

int sy_ids_bytes(enum sy_ids ids) { return bytes[ids]; }

int64_t sy_ids_at(enum sy_ids ids, const void *from, int64_t i) {
    const char *at = (const char *)from + i * bytes[ids];
    switch (ids) {
#define X(name, type)               \
    case SY_IDS_##name: {           \
        type id;                    \
        memcpy(&id, at, sizeof id); \
        return (int64_t)id;         \
    }
        SY_IDS_LIST(X)
#undef X
    }
    return -1;
}

void sy_ids_widen(enum sy_ids ids, const void *from, int64_t n, int32_t *to) {
    switch (ids) {
#define X(name, type)                                                            \
    case SY_IDS_##name:                                                          \
        for (int64_t i = 0; i < n; i++) {                                        \
            type id;                                                             \
            memcpy(&id, (const char *)from + i * (int64_t)sizeof id, sizeof id); \
            int64_t whole = (int64_t)id;                                         \
            to[i] = whole < 0 || whole > INT32_MAX ? -1 : (int32_t)whole;        \
        }                                                                        \
        return;
        SY_IDS_LIST(X)
#undef X
    }
}

int64_t sy_ids_check(const int32_t *id, int64_t n, int32_t n_ids) {
    for (int64_t i = 0; i < n; i++)
        if (id[i] < 0 || id[i] >= n_ids)
            return i;
    return n;
}
