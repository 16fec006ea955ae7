/* Of attention, whatever multiplies: the rows of a head, which keys a query sees, and a share of the work for
 * each thread. */
#ifndef SY_OPS_REF_ATTENTION_KEYS_H
#define SY_OPS_REF_ATTENTION_KEYS_H

#include "ops/ref/tier.h"

enum { QUERIES = 64, KEYS = SY_ATTENTION_BLOCK };

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

struct tokens { /* of one head: n from token `first` on, of all sequences */
    int64_t first, n, head;
};

static inline void *token_row(struct sy_heads v, struct tokens at, int64_t r) {
    return sy_at(v.data, v.dtype, (at.first + r) * v.token + at.head * v.head);
}

struct keys { /* lo .. hi - 1 */
    int64_t lo, hi;
};

/* Of a sequence, what its query i may see. */
static inline struct keys allowed_keys(const struct sy_attention *op, int64_t b, int64_t i) {
    int64_t lo = op->doc_start ? op->doc_start[b * op->seq_len + i] : 0;
    if (op->window > 0)
        lo = max64(lo, i - op->window + 1);
    return (struct keys){lo, i + 1};
}

/* The first key block that any of n queries from i0 on may see; the last is the one of the last query. */
static inline int64_t first_block(const struct sy_attention *op, int64_t b, int64_t i0, int64_t n) {
    int64_t least = op->seq_len;
    for (int64_t i = i0; i < i0 + n; i++)
        least = min64(least, allowed_keys(op, b, i).lo);
    return least / KEYS;
}

#endif
