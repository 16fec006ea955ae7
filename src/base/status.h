/* Status and the one error message.
 *
 * The message is written once, where the fault is first known (SY_FAIL); everyone else forwards it (SY_TRY).
 * It lives in thread-local storage, so threads never share it; what runs on a pool's workers does not fail
 * (ops count what is wrong).
 */
#ifndef SY_BASE_STATUS_H
#define SY_BASE_STATUS_H

#include "switchyard.h"

#if defined(__GNUC__)
#define SY_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#else
#define SY_PRINTF(fmt, first)
#endif

/* Writes the calling thread's message (cut at 2047 bytes, control characters replaced by '?') and returns
 * `status`. */
sy_status sy_fail(sy_status status, const char *fmt, ...) SY_PRINTF(2, 3);

/* Puts "prefix: " before the calling thread's message and returns `status` unchanged. For adding where,
 * never what. */
sy_status sy_fail_context(sy_status status, const char *fmt, ...) SY_PRINTF(2, 3);

#ifdef __clang_analyzer__ /* which does not see across files that these return the status they are given */
#define sy_fail(status, ...) (sy_fail((status), __VA_ARGS__), (status))
#define sy_fail_context(status, ...) (sy_fail_context((status), __VA_ARGS__), (status))
#endif

#define SY_FAIL(status, ...) return sy_fail(status, __VA_ARGS__)
#define SY_TRY(call)                    \
    do {                                \
        sy_status try_status_ = (call); \
        if (try_status_ != SY_OK)       \
            return try_status_;         \
    } while (0)

#endif
