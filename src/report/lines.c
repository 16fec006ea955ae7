/* Lines of a file that grows: see lines.h. */
#include "report/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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
    sy_line_buffer_fini(&l->buffer);
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
    l->buffer.begin = l->buffer.end = 0; /* a torn line is read again */
}

/* *n 0: the end of the file. */
static sy_status more(struct sy_lines *l, size_t *n) {
    struct sy_line_buffer *b = &l->buffer;
    SY_TRY(sy_line_buffer_room(b, l->path, l->number + 1));
    ssize_t got = pread(l->fd, b->text + b->end, SY_LINE_PIECE, l->offset + (int64_t)b->end);
    if (got < 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot be read: %s", l->path, strerror(errno));
    b->end += (size_t)got;
    *n = (size_t)got;
    return SY_OK;
}

sy_status sy_lines_next(struct sy_lines *l, const char **text, size_t *bytes) {
    struct sy_line_buffer *b = &l->buffer;
    size_t seen = 0, n = 1;
    *text = NULL;
    while (n) {
        const char *newline = sy_line_buffer_newline(b, seen);
        if (newline) {
            *text = b->text + b->begin;
            *bytes = (size_t)(newline - *text);
            b->begin += *bytes + 1;
            l->offset += (int64_t)*bytes + 1;
            l->number++;
            return SY_OK;
        }
        seen = b->end - b->begin;
        SY_TRY(more(l, &n));
    }
    return SY_OK;
}

size_t sy_lines_torn(const struct sy_lines *l) { return l->buffer.end - l->buffer.begin; }
