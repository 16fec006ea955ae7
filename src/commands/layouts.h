/* The layouts that `verify` compares: a value for each factor, as options. A cover: every two values of two
 * factors meet in one of them, if any layout that is admissible (parallel/mesh.h) has both. */
#ifndef SY_COMMANDS_LAYOUTS_H
#define SY_COMMANDS_LAYOUTS_H

#include "config/config.h"

enum { SY_LAYOUT_VALUES = 8 }; /* of a factor, at most */

/* name of its column, width (negative: to the left) */
#define SY_LAYOUT_FACTORS(X) \
    X(ranks, 5)              \
    X(pp, 2)                 \
    X(schedule, -21)         \
    X(ep, 2)                 \
    X(exchange, -8)          \
    X(shard, 5)              \
    X(reshard, -7)           \
    X(threads, 7)            \
    X(batch, 5)              \
    X(recompute, -9)         \
    X(tier, -11)

enum sy_layout_factor {
#define X(name, width) SY_LAYOUT_##name,
    SY_LAYOUT_FACTORS(X)
#undef X
        SY_N_LAYOUT_FACTORS
};

struct sy_layout { /* the number of each factor's value */
    int of[SY_N_LAYOUT_FACTORS];
};

/* Which values of each factor are wanted: a bit each; 0: all of them. */
struct sy_layouts_wanted {
    unsigned values[SY_N_LAYOUT_FACTORS];
};

/* Local. "FACTOR=VALUE[,VALUE...]": of this factor these values alone. Errors: ERR_USAGE, naming what there
 * is. */
sy_status sy_layouts_want(struct sy_layouts_wanted *wanted, const char *text);

const char *sy_layout_name(int factor);
int sy_layout_width(int factor);
/* NULL past the last. */
const char *sy_layout_value(int factor, int i);

/* Local. The cover for a finished configuration, the plainest layout first, then by how many new pairs each
 * brings. processes > 1: beside the plainest one those of that many ranks, without memory of each other.
 * Errors: ERR_MEMORY; ERR_USAGE no layout that is wanted is admissible. Owned by the caller: free. */
sy_status sy_layouts_cover(const struct sy_config *config, int processes,
                           const struct sy_layouts_wanted *wanted, struct sy_layout **out, int *n);

/* Local. Sets the options of a layout and finishes the configuration. */
sy_status sy_layout_set(struct sy_config *config, const struct sy_layout *layout);

#endif
