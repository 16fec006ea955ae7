/* switchyard: mixture-of-experts training with the same bits on every layout.
 *
 * The only installed header. Handles are opaque; options are set by the keys of docs/CONFIG.md; outputs come last and are
 * written only on success. A function that can fail returns a sy_status; sy_error_message() then holds one line for the
 * calling thread: what, where, the value, the bound, what to do. The library never prints, exits or installs handlers.
 * Each prototype's comment starts with `Local.` or `Collective.`: a collective is called by every rank and returns the
 * agreed status.
 */
#ifndef SWITCHYARD_H
#define SWITCHYARD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SY_VERSION_MAJOR 0
#define SY_VERSION_MINOR 1
#define SY_VERSION_PATCH 0
#define SY_VERSION "0.1.0"

/* name, process exit code, what it means to a user */
#define SY_STATUS_LIST(X)                                                         \
    X(OK, 0, "done")                                                              \
    X(ERR_RUNTIME, 1, "failed at run time")                                       \
    X(ERR_MEMORY, 1, "out of memory")                                             \
    X(ERR_IO, 1, "a file could not be read or written")                           \
    X(ERR_UNAVAILABLE, 1, "a part that this build or machine does not have")      \
    X(ERR_USAGE, 2, "wrong usage or configuration")                               \
    X(ERR_DATA, 3, "a checkpoint or data file is damaged")                        \
    X(ERR_NONFINITE, 4, "stopped on a non-finite loss or gradient")               \
    X(ERR_PEER, 5, "another rank failed")                                         \
    X(STOPPED, 130, "stopped on request, a checkpoint was saved")

typedef enum sy_status {
#define X(name, exit_code, text) SY_##name,
    SY_STATUS_LIST(X)
#undef X
} sy_status;

/* Local. The last error of the calling thread, one line without newline; "" if none. Valid until its next failing call. */
const char *sy_error_message(void);

/* Local. The process exit code that belongs to a status. */
int sy_status_exit_code(sy_status status);

/* Local. SY_VERSION of the library that is linked. */
const char *sy_version(void);

/* @@API@@ */

#ifdef __cplusplus
}
#endif
#endif
