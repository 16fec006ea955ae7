/* Which tiers and classes a run compares: all; with ONLY_TIER or ONLY_CLASS in the environment the one of
 * that name, as tools/amx.sh has it. A name that is none ends the test. Included after cmocka's headers.
 */
#ifndef SY_TESTS_OPS_ONLY_H
#define SY_TESTS_OPS_ONLY_H

#include <stdlib.h>
#include <string.h>

#include "ops/ops.h"

static inline int is_named(const char *only, int i, int n, const char *(*name)(int)) {
    int known = 0, is = 0;
    for (int k = 0; only && k < n; k++)
        if (strcmp(name(k), only) == 0) {
            known = 1;
            is = k == i || i < 0;
        }
    if (only && !known)
        fail_msg("ONLY_TIER or ONLY_CLASS = %s: there is no such tier or class", only);
    return !only || is;
}

static inline const char *class_name_of(int cls) { return sy_class_name((enum sy_numeric_class)cls); }

/* tier, cls: negative: any. */
static inline int is_of_run(int tier, int cls) {
    return is_named(getenv("ONLY_TIER"), tier, sy_ops_n_tiers(), sy_ops_tier_name) &&
           is_named(getenv("ONLY_CLASS"), cls, SY_N_CLASSES, class_name_of);
}

#endif
