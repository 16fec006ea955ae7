/* Text for a caller's io: see io.h. */
#include "train/io.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

void sy_io_write(const struct sy_io *io, const char *text, size_t n) {
    if (io->write)
        io->write(io->user, text, n);
}

void sy_io_printf(const struct sy_io *io, const char *fmt, ...) {
    char text[4096];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n > 0)
        sy_io_write(io, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

static void forward(void *user, enum sy_log_level level, const char *line) {
    const struct sy_io *io = user;
    if (io->log)
        io->log(io->user, level == SY_LOG_WARN, line);
}

struct sy_log sy_io_log(const struct sy_io *io) {
    return (struct sy_log){forward, (void *)(uintptr_t)io};
}
