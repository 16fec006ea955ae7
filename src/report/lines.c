/* Lines of a file that grows: see lines.h. */
#include "report/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_LINE = 64 << 20, PIECE = 1 << 16 };

sy_status sy_lines_init(const char *path, struct sy_lines *l) {
    *l = (struct sy_lines){.fd = -1};
    int n = snprintf(l->path, sizeof l->path, "%s", path);
    if (n < 0 || (size_t)n >= sizeof l->path)
        SY_FAIL(SY_ERR_USAGE, "%.200s…: the path has %d bytes, at most %zu are possible", path, n,
                sizeof l->path - 1);
    return SY_OK;
}

void sy_lines_fini(struct sy_lines *l) {
    sy_lines_close(l);
    free(l->text);
    l->text = NULL;
}

sy_status sy_lines_open(struct sy_lines *l) {
    l->fd = open(l->path, O_RDONLY | O_CLOEXEC);
    if (l->fd < 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot be read: %s", l->path, strerror(errno));
    return SY_OK;
}

void sy_lines_close(struct sy_lines *l) {
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
    l->begin = l->end = 0; /* a torn line is read again */
}

/* *n 0: the end of the file. */
static sy_status more(struct sy_lines *l, size_t *n) {
    if (l->begin)
        memmove(l->text, l->text + l->begin, l->end - l->begin);
    l->end -= l->begin;
    l->begin = 0;
    if (l->end + PIECE > l->capacity) {
        size_t capacity = 2 * l->capacity + PIECE;
        char *larger = l->end > MAX_LINE ? NULL : realloc(l->text, capacity);
        if (!larger)
            SY_FAIL(l->end > MAX_LINE ? SY_ERR_DATA : SY_ERR_MEMORY, "%s:%lld: a line of more than %zu bytes",
                    l->path, (long long)l->number + 1, l->end);
        l->text = larger;
        l->capacity = capacity;
    }
    ssize_t got = pread(l->fd, l->text + l->end, PIECE, l->offset + (int64_t)l->end);
    if (got < 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot be read: %s", l->path, strerror(errno));
    l->end += (size_t)got;
    *n = (size_t)got;
    return SY_OK;
}

sy_status sy_lines_next(struct sy_lines *l, const char **text, size_t *bytes) {
    size_t seen = 0, n = 1;
    *text = NULL;
    while (n) {
        char *from = l->text ? l->text + l->begin : NULL;
        char *newline = l->end > l->begin + seen ? memchr(from + seen, '\n', l->end - l->begin - seen) : NULL;
        if (newline) {
            *text = from;
            *bytes = (size_t)(newline - from);
            l->begin += *bytes + 1;
            l->offset += (int64_t)*bytes + 1;
            l->number++;
            return SY_OK;
        }
        seen = l->end - l->begin;
        SY_TRY(more(l, &n));
    }
    return SY_OK;
}

size_t sy_lines_torn(const struct sy_lines *l) { return l->end - l->begin; }
