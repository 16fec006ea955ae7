/* Lists of steps: see ranges.h. */
#include "config/ranges.h"

#include <errno.h>
#include <stdlib.h>

static const char *number(const char *s, int64_t *out) {
    char *end;
    errno = 0;
    *out = *s >= '0' && *s <= '9' ? strtoll(s, &end, 10) : 0;
    return *out > 0 && !errno ? end : NULL;
}

sy_status sy_step_range_parse(const char *text, struct sy_step_range *out) {
    struct sy_step_range r;
    const char *end = number(text, &r.first);
    r.last = r.first;
    if (end && *end == '-')
        end = number(end + 1, &r.last);
    if (!end || *end)
        SY_FAIL(SY_ERR_USAGE, "\"%.100s\" is no step and no range of steps, as in \"120\" or \"300-310\"",
                text);
    if (r.last < r.first)
        SY_FAIL(SY_ERR_USAGE, "\"%.100s\" ends before it begins", text);
    *out = r;
    return SY_OK;
}

bool sy_step_ranges_have(int64_t n, const char *const *items, int64_t step) {
    struct sy_step_range r;
    for (int64_t i = 0; i < n; i++)
        if (sy_step_range_parse(items[i], &r) == SY_OK && step >= r.first && step <= r.last)
            return true;
    return false;
}
