/* Files read and written whole: see files.h. */
#include "base/files.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 1 << 30 }; /* bytes of a call: below what one moves at the most */

static size_t piece(size_t bytes) { return bytes < PIECE ? bytes : PIECE; }

int sy_file_read(int fd, int64_t *at, void *to, size_t bytes) {
    char *next = to;
    ssize_t n;
    for (; bytes > 0; next += n, *at += n, bytes -= (size_t)n) {
        SY_AGAIN(n, pread(fd, next, piece(bytes), *at));
        if (n <= 0)
            return (int)n;
    }
    return 1;
}

int sy_file_write(int fd, int64_t *at, const void *from, size_t bytes) {
    const char *next = from;
    ssize_t n;
    for (; bytes > 0; next += n, *at += n, bytes -= (size_t)n) {
        SY_AGAIN(n, pwrite(fd, next, piece(bytes), *at));
        if (n <= 0)
            return (int)n;
    }
    return 1;
}

sy_status sy_file_need(const char *path, int fd, int64_t at, void *to, size_t bytes) {
    int64_t end = at + (int64_t)bytes;
    int got = sy_file_read(fd, &at, to, bytes);
    if (got < 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot read at byte %" PRId64 ": %s", path, at, strerror(errno));
    if (got == 0)
        SY_FAIL(SY_ERR_DATA, "%s: ends at byte %" PRId64 ", %" PRId64 " bytes early", path, at, end - at);
    return SY_OK;
}
