/* Log lines go to sinks that the caller installs; the library itself never prints.
 *
 * A sink gets whole lines without newline. Levels: 0 info, 1 warning.
 */
#ifndef SY_BASE_LOG_H
#define SY_BASE_LOG_H

#include "base/status.h"

enum sy_log_level { SY_LOG_INFO, SY_LOG_WARN };

typedef void (*sy_log_fn)(void *user, enum sy_log_level level, const char *line);

struct sy_log {
    sy_log_fn fn; /* NULL: lines are dropped */
    void *user;
};

void sy_log_info(const struct sy_log *log, const char *fmt, ...) SY_PRINTF(2, 3);
void sy_log_warn(const struct sy_log *log, const char *fmt, ...) SY_PRINTF(2, 3);

#endif
