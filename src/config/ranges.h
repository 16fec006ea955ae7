/* Lists of steps: "120", "300-310"; from 1, both ends are in. */
#ifndef SY_CONFIG_RANGES_H
#define SY_CONFIG_RANGES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct sy_step_range {
    int64_t first, last;
};

/* Local. Errors: ERR_USAGE no number or range, a range that ends before it begins. */
sy_status sy_step_range_parse(const char *text, struct sy_step_range *out);

/* Whether one of the items, all of which parse, has the step. */
bool sy_step_ranges_have(int64_t n, const char *const *items, int64_t step);

#endif
