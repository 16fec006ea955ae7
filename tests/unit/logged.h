/* What the library says to a log is kept, a line each, until the test empties it. */
#ifndef TESTS_UNIT_LOGGED_H
#define TESTS_UNIT_LOGGED_H

#include <stdio.h>
#include <string.h>

#include "base/log.h"

static char logged[1 << 16];

static inline void note(void *user, enum sy_log_level level, const char *line) {
    (void)user;
    size_t n = strlen(logged);
    snprintf(logged + n, sizeof logged - n, "%s%s\n", level == SY_LOG_WARN ? "warning: " : "", line);
}

static const struct sy_log logger = {note, NULL};

#endif
