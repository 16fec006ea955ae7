/* Log lines: see log.h. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

static void emit(const struct sy_log *log, enum sy_log_level level, const char *fmt, va_list args) {
    if (!log || !log->fn)
        return;
    char line[2048];
    vsnprintf(line, sizeof line, fmt, args);
    log->fn(log->user, level, line);
}

void sy_log_info(const struct sy_log *log, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    emit(log, SY_LOG_INFO, fmt, args);
    va_end(args);
}

void sy_log_warn(const struct sy_log *log, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    emit(log, SY_LOG_WARN, fmt, args);
    va_end(args);
}
