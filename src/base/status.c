/* Status and the one error message: see status.h. */
#include "base/status.h"

#ifdef __clang_analyzer__
#undef sy_fail
#undef sy_fail_context
#endif

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_BYTES = 2048 };
static _Thread_local char message[MESSAGE_BYTES];

static void make_one_line(char *s) {
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = '?';
}

sy_status sy_fail(sy_status status, const char *fmt, ...) {
    char text[MESSAGE_BYTES]; /* arguments may point into `message` */
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    make_one_line(text);
    memcpy(message, text, sizeof message);
    return status;
}

sy_status sy_fail_context(sy_status status, const char *fmt, ...) {
    char prefix[MESSAGE_BYTES / 2], text[2 * MESSAGE_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(prefix, sizeof prefix, fmt, args);
    va_end(args);
    snprintf(text, sizeof text, "%s: %s", prefix, message);
    text[MESSAGE_BYTES - 1] = 0;
    make_one_line(text);
    memcpy(message, text, sizeof message);
    return status;
}

const char *sy_error_message(void) { return message; }

int sy_status_exit_code(sy_status status) {
    static const int codes[] = {
#define X(name, exit_code, text) exit_code,
        SY_STATUS_LIST(X)
#undef X
    };
    return (size_t)status < sizeof codes / sizeof *codes ? codes[status] : 1;
}

const char *sy_version(void) { return SY_VERSION; }
