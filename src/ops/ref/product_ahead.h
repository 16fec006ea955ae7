/* What a product touches soon, fetched evenly while it multiplies: a micro-tile has room for one line a step.
 *
 * The tiles of a block come in turns (a panel's, or a micro-row's), each with places (the other way). From
 * turn `first` on, `each` places behind the first `skip` of every turn have a share of the regions, in order;
 * a share is what one micro-tile has room for. No bit depends on it.
 */
#ifndef SY_OPS_REF_PRODUCT_AHEAD_H
#define SY_OPS_REF_PRODUCT_AHEAD_H

#include "ops/ref/tier.h"

enum { AHEAD_REGIONS = 4, AHEAD_LINE = 64 };
struct ahead {
    int n;
    struct ahead_region {
        const char *at;
        int64_t bytes;
    } region[AHEAD_REGIONS];
    int64_t share, first, skip, each;
};

static inline void ahead_add(struct ahead *a, const void *at, int64_t bytes) {
    assert(a->n < AHEAD_REGIONS);
    if (at && bytes > 0)
        a->region[a->n++] = (struct ahead_region){at, bytes};
}

/* `rows` rows from `first` on, where they lie together; else nothing. */
static inline void ahead_add_rows(struct ahead *a, struct sy_mat m, int64_t width, int64_t first,
                                  int64_t rows) {
    if (m.data && m.col == 1 && m.row <= 2 * width)
        ahead_add(a, sy_at(m.data, m.dtype, first * m.row), rows * m.row * (int64_t)sy_dtype_bytes(m.dtype));
}

static inline void ahead_spread(struct ahead *a, int64_t steps, int64_t first, int64_t turns, int64_t skip) {
    int64_t bytes = 0, all;
    for (int i = 0; i < a->n; i++)
        bytes += a->region[i].bytes;
    a->share = AHEAD_LINE * steps;
    a->first = first;
    a->skip = skip;
    all = a->share * (turns - first);
    a->each = all > 0 ? (bytes + all - 1) / all : 0;
}

/* Where the lines begin that a tile fetches, or NULL. */
static inline const char *ahead_of(const struct ahead *a, int64_t turn, int64_t place) {
    if (turn < a->first || place < a->skip || place >= a->skip + a->each)
        return NULL;
    int64_t at = ((turn - a->first) * a->each + place - a->skip) * a->share;
    for (int i = 0; i < a->n; i++) {
        if (at < a->region[i].bytes)
            return a->region[i].at + at;
        at -= a->region[i].bytes;
    }
    return NULL;
}

#endif
