/* Files read and written whole, whatever signals come in between and however little one call moves. */
#ifndef SY_BASE_FILES_H
#define SY_BASE_FILES_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Repeats a call that a signal interrupted: SY_AGAIN(rc, rename(a, b)) leaves the last result in rc. */
#define SY_AGAIN(rc, call) \
    do                     \
        (rc) = (call);     \
    while ((rc) == -1 && errno == EINTR)

/* Local. pread of `bytes` bytes at byte *at, which is then behind what was read. 1: all; 0: the file ends
 * before; -1: a call failed, errno says why. */
int sy_file_read(int fd, int64_t *at, void *to, size_t bytes);

/* Local. pwrite, likewise; 0: a call took nothing. */
int sy_file_write(int fd, int64_t *at, const void *from, size_t bytes);

/* Local. sy_file_read at byte `at`, of a file that must have these bytes. Errors: ERR_IO, ERR_DATA the file
 * ends before; both name `path` and the byte. */
sy_status sy_file_need(const char *path, int fd, int64_t at, void *to, size_t bytes);

#endif
