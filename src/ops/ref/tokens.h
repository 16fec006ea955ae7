/* How a step names a token, the same on every layout: see struct sy_tally. */
#ifndef SY_OPS_REF_TOKENS_H
#define SY_OPS_REF_TOKENS_H

#include "ops/ref/tier.h"

static inline int64_t token_key(const int32_t *place, int64_t t, int64_t seq_len, int64_t layer,
                                int64_t layers) {
    int64_t sequence = place ? place[t / seq_len] : t / seq_len;
    return (sequence * seq_len + t % seq_len) * layers + layer;
}

/* *lowest becomes key if that is lower: 1. */
static inline int lowers(int64_t key, int64_t *lowest) {
    if (*lowest != SY_NO_TOKEN && *lowest <= key)
        return 0;
    *lowest = key;
    return 1;
}

#endif
